"""Scores of a classification from the probabilities of its classes, by torchmetrics.

Axes: N samples, K classes.
"""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lean3d.errors import ShapeError
from lean3d.optional import require

__all__ = ["TITLES", "class_scores", "interval_of_scores"]

RESAMPLES, SEED = 300, 0
# of the scores, for people
TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "average_precision": "average precision",
    "kappa": "weighted kappa",
}


def class_scores(prob_NK: Tensor, label_N: Tensor) -> dict[str, float]:
    """Return accuracy, balanced accuracy, AUC, average precision and the weighted kappa.

    AUC and average precision are those of class 1 for two classes, and means over one class
    against the rest for more. A class that does not occur, or the only one that does, has none.
    The kappa has quadratic weights: it counts how far a class is off, for ordered classes.

    Shape: (N, K) and (N,).

    Raises:
        ShapeError: `prob_NK` and `label_N` do not belong together, or there is one class.
    """
    if prob_NK.ndim != 2 or label_N.shape != prob_NK.shape[:1] or prob_NK.shape[1] < 2:
        raise ShapeError(
            "class_scores takes probabilities (N, K) of two classes or more, and labels (N,), got "
            f"{tuple(prob_NK.shape)} and {tuple(label_N.shape)}"
        )
    functional = require("torchmetrics.functional.classification", extra="train")
    num = prob_NK.shape[1]
    found_N = prob_NK.argmax(1)
    occurs_K = torch.bincount(label_N, minlength=num) > 0
    right_K = torch.stack([(found_N[label_N == k] == k).double().mean() for k in range(num)])
    ranked = [1] if num == 2 else list(range(num))
    ranked = [k for k in ranked if occurs_K[k] and not bool((label_N == k).all())]
    areas, precisions = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in ranked:
            pair: Any = (prob_NK[:, k], (label_N == k).long())
            # sums in single precision, which may pass 1
            areas.append(min(1.0, functional.binary_auroc(*pair).item()))
            precisions.append(min(1.0, functional.binary_average_precision(*pair).item()))
        kappa = functional.multiclass_cohen_kappa(found_N, label_N, num, weights="quadratic")
    return {
        "accuracy": (found_N == label_N).double().mean().item(),
        "balanced_accuracy": right_K[occurs_K].mean().item(),
        "auc": float(np.mean(areas)) if areas else float("nan"),
        "average_precision": float(np.mean(precisions)) if precisions else float("nan"),
        "kappa": kappa.item(),
    }


def interval_of_scores(prob_NK: Tensor, label_N: Tensor) -> dict[str, tuple[float, float]]:
    """Return the 95 % bootstrap interval of each of `class_scores`, over the samples.

    Resamples in which a score does not exist (one class alone) are left out of it.
    """
    num, random = len(label_N), np.random.default_rng(SEED)
    drawn = []
    for _ in range(RESAMPLES if num > 1 else 0):
        chosen = torch.from_numpy(random.integers(num, size=num))
        drawn.append(class_scores(prob_NK[chosen], label_N[chosen]))
    names = class_scores(prob_NK, label_N)
    return {name: _interval([one[name] for one in drawn]) for name in names}


def _interval(values: list[float]) -> tuple[float, float]:
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return float("nan"), float("nan")
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(high)
