"""Convert 2D networks to 3D with their weights and 3D ones to lean ones, with a self-check."""

from importlib import import_module
from pkgutil import iter_modules

from lean3d.conversion.api import convert
from lean3d.conversion.causal import Dissect
from lean3d.conversion.fuse import fold
from lean3d.conversion.lean import Atoms, ChannelSeparated, ParallelSeparable, SpaceTime, decompose
from lean3d.conversion.lean.base import Lean, place
from lean3d.conversion.methods import register_method
from lean3d.conversion.record import Check, Conversion, Row
from lean3d.conversion.to3d import rules
from lean3d.conversion.to3d.acs import ACS, MeanACS, SoftACS
from lean3d.conversion.to3d.base import Converted, Site, To3D
from lean3d.conversion.to3d.geometry import conv_arguments, like_height, transposed_arguments
from lean3d.conversion.to3d.inflate import Inflate
from lean3d.conversion.to3d.merged.call import Call, function_rule
from lean3d.conversion.to3d.planar import Planar
from lean3d.conversion.to3d.plane_cycle import PlaneCycle
from lean3d.conversion.to3d.rules.registry import module_rule
from lean3d.conversion.to3d.undo import unconvert
from lean3d.errors import ConversionError

__all__ = [
    "ACS",
    "Atoms",
    "Call",
    "ChannelSeparated",
    "Check",
    "Conversion",
    "ConversionError",
    "Converted",
    "Dissect",
    "Inflate",
    "Lean",
    "MeanACS",
    "ParallelSeparable",
    "Planar",
    "PlaneCycle",
    "Row",
    "Site",
    "SoftACS",
    "SpaceTime",
    "To3D",
    "conv_arguments",
    "convert",
    "decompose",
    "fold",
    "function_rule",
    "like_height",
    "module_rule",
    "place",
    "register_method",
    "transposed_arguments",
    "unconvert",
]

# every file there registers its own rules
for module in iter_modules(rules.__path__):
    import_module(f"{rules.__name__}.{module.name}")
