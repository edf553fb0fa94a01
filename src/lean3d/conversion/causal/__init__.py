"""Make a 3D network causal, so that it can be streamed."""

from lean3d.conversion.causal.method import Dissect

__all__ = ["Dissect"]
