"""Several processes that train or evaluate one run: started, joined, and agreeing."""

from lean3d.processes.agree import agreed, by_first, gathered, in_turn
from lean3d.processes.places import Place, place, placed
from lean3d.processes.start import joined, reports, started, to_start
from lean3d.processes.sums import pooled, pooled_mean, total

__all__ = [
    "Place",
    "agreed",
    "by_first",
    "gathered",
    "in_turn",
    "joined",
    "place",
    "placed",
    "pooled",
    "pooled_mean",
    "reports",
    "started",
    "to_start",
    "total",
]
