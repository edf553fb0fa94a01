"""The cost of a model: parameters, multiply-adds, channel interactions, bytes, time."""

from lean3d.cost.channel_interactions import interactions
from lean3d.cost.counter import count
from lean3d.cost.latency import Timing, bench
from lean3d.cost.result import Cost, LayerCost
from lean3d.cost.shares import Share, explain, kinds, layer_shares

__all__ = [
    "Cost",
    "LayerCost",
    "Share",
    "Timing",
    "bench",
    "count",
    "explain",
    "interactions",
    "kinds",
    "layer_shares",
]
