"""What a model costs: parameters, multiply-adds, channel interactions, bytes."""

from lean3d.cost.count import count
from lean3d.cost.interactions import interactions
from lean3d.cost.result import Cost, LayerCost

__all__ = ["Cost", "LayerCost", "count", "interactions"]
