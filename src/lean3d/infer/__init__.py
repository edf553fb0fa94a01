"""Prediction on whole volumes and live videos."""

from lean3d.infer.live import Session
from lean3d.infer.sliding import predict_slices, predict_volume

__all__ = ["Session", "predict_slices", "predict_volume"]
