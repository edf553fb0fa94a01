"""The fastest equal network on this machine, found by measuring."""

from lean3d.runtime.choose import optimize
from lean3d.runtime.first_call import OptimizedAtFirstCall
from lean3d.runtime.optimized import Candidate, Optimized
from lean3d.runtime.saved import load_optimized, save_optimized
from lean3d.runtime.source import BACKENDS, Source, Unavailable, register_backend
from lean3d.runtime.step import OptimizedStream

__all__ = [
    "BACKENDS",
    "Candidate",
    "Optimized",
    "OptimizedAtFirstCall",
    "OptimizedStream",
    "Source",
    "Unavailable",
    "load_optimized",
    "optimize",
    "register_backend",
    "save_optimized",
]
