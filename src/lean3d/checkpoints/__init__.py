"""Published weights, read into models: one format per file."""

from lean3d.checkpoints.format import Facts, Preprocessing, one_scheme
from lean3d.checkpoints.formats import register_format
from lean3d.checkpoints.load import Loaded, load_checkpoint, open_checkpoint

__all__ = [
    "Facts",
    "Loaded",
    "Preprocessing",
    "load_checkpoint",
    "one_scheme",
    "open_checkpoint",
    "register_format",
]
