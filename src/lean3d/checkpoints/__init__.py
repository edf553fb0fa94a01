"""Published weights, read into models: one format per file."""

from lean3d.checkpoints.format import Preprocessing
from lean3d.checkpoints.load import Loaded, load_checkpoint, open_checkpoint

__all__ = ["Loaded", "Preprocessing", "load_checkpoint", "open_checkpoint"]
