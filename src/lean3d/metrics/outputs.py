"""From the outputs of a network of classes to scores and probabilities.

Axes: B batch, T time, K classes.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Scoring", "class_probabilities", "clip_scores"]

Scoring = Literal["last", "every"]


def clip_scores(scores: Tensor, scoring: Scoring) -> Tensor:
    """Return (B, K) from the logits of a clip, or of its frames."""
    if scores.ndim == 2:
        return scores
    return scores[:, -1] if scoring == "last" else scores.softmax(-1).mean(1).log()


def class_probabilities(logits: Tensor, ordinal: bool) -> Tensor:
    """Return probabilities (B, K) from the outputs of a model of classes, ordered or not.

    Of ordered ones, the probability that a class is exceeded may not rise with the class; the
    smallest so far is taken.
    """
    if not ordinal:
        return logits.float().softmax(1)
    above = logits.float().sigmoid().cummin(1).values
    edges = F.pad(F.pad(above, (1, 0), value=1.0), (0, 1), value=0.0)
    return edges[:, :-1] - edges[:, 1:]
