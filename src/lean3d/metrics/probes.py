"""A linear classifier of features, by scikit-learn.

Axes: N samples, C features, K classes.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lean3d.errors import RunError
from lean3d.optional import require

__all__ = ["linear_probe"]

MOST_STEPS = 2000


def linear_probe(
    train: tuple[Tensor, Tensor],
    others: Sequence[Tensor],
    *,
    num_classes: int,
    strength: float = 0.1,
    class_weights: Mapping[int, float] | None = None,
) -> list[Tensor]:
    """Fit a logistic regression; return the probabilities (N, K) of the classes of other samples.

    Each feature is brought to zero mean and unit variance of the training samples first.

    Args:
        train: Features (N, C) and classes (N,).
        others: Features (N, C) of other samples, of each part.
        strength: Inverse of the L2 penalty (scikit-learn's C).
        class_weights: Of the classes in the loss; all equal by default.

    Raises:
        RunError: the training samples are of one class, or features are not finite.
    """
    linear = require("sklearn.linear_model", extra="train")
    pipeline = require("sklearn.pipeline", extra="train")
    scaling = require("sklearn.preprocessing", extra="train")
    features, labels = train
    if len(labels.unique()) < 2:
        raise RunError("a probe needs training samples of two classes or more, these are of one")
    if not all(x.isfinite().all() for x in (features, *others)):
        raise RunError("features hold NaN or infinity: the network, or its input, is not finite")
    known = [int(k) for k in labels.unique()]
    weights = None if class_weights is None else {k: class_weights[k] for k in known}
    regression = linear.LogisticRegression(max_iter=MOST_STEPS, C=strength, class_weight=weights)
    fitted = pipeline.make_pipeline(scaling.StandardScaler(), regression)
    fitted.fit(features.double().numpy(), labels.numpy())
    found = []
    for x_NC in others:
        prob_NK = torch.zeros(len(x_NC), num_classes)
        # a class without training samples has no column
        prob_NK[:, known] = torch.from_numpy(fitted.predict_proba(x_NC.double().numpy())).float()
        found.append(prob_NK)
    return found
