"""Prediction on whole volumes."""

from lean3d.infer.sliding import predict_slices, predict_volume

__all__ = ["predict_slices", "predict_volume"]
