"""Run a 3D CNN on live video: one frame in, one answer out, nothing computed twice."""

from lean3d.stream.session import Stream, stream
from lean3d.stream.state import StateBytes

__all__ = ["StateBytes", "Stream", "stream"]
