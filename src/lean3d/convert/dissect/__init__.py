"""Make a 3D network causal, so that it can be streamed."""

from lean3d.convert.dissect.how import Dissect

__all__ = ["Dissect"]
