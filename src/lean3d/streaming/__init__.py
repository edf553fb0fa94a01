"""Run a 3D CNN on live video: one output per frame, without repeated computation."""

from lean3d.streaming.export import export_step
from lean3d.streaming.session import Stream, stream
from lean3d.streaming.state import StateBytes

__all__ = ["StateBytes", "Stream", "export_step", "stream"]
