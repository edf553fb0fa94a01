"""Keep the trainer's advice out of the user's terminal."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_trainer"]

_LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


@contextmanager
def quiet_trainer() -> Iterator[None]:
    """Silence the trainer's notices, and its warnings that users cannot act on."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.WARNING)
        with warnings.catch_warnings():
            # reading patches from memory is not the bottleneck
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            # every process computes the same scores, of the sums over all
            warnings.filterwarnings("ignore", ".*recommended to use `self.log.*sync_dist=True")
            # how many are unused in a step is known only then
            warnings.filterwarnings("ignore", ".*find_unused_parameters=True was specified")
            # Lightning 2.6 still uses names that PyTorch 2.13 renamed
            warnings.filterwarnings("ignore", ".*treespec, LeafSpec.* is deprecated")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
