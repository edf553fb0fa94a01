"""How well single feature channels separate foreground from background, before any training.

Source: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), Appendix B, mAUC.

Axes: N volumes, C channels.
"""

import numpy as np
from torch import Tensor

from lean3d.errors import DataError, ShapeError
from lean3d.optional import require

__all__ = ["feature_mauc"]


def feature_mauc(features: Tensor, foreground: Tensor) -> float:
    """Mean over channels of max(AUC, 1 - AUC): 0.5 is chance, 1 is perfect separation.

    The mean over the volumes of each one's own score. The area under the ROC curve is exact,
    including ties; a channel may mark the foreground by high or by low values.

    Args:
        foreground: True or non-zero inside; all foreground classes together are the positives.

    Shape: (N, C, ...) with (N, ...).

    Raises:
        DataError: a volume is all foreground or all background, or a feature is NaN.
    """
    shape = tuple(features.shape)
    if len(shape) < 3 or shape[:1] + shape[2:] != tuple(foreground.shape) or 0 in shape:
        raise ShapeError(
            "feature_mauc takes features (N, C, ...) with a mask (N, ...), got "
            f"{shape} with {tuple(foreground.shape)}; one volume needs unsqueeze(0) on both"
        )
    volumes = zip(features, foreground, strict=True)
    return float(np.mean([_volume_mauc(*volume) for volume in volumes]))


def _volume_mauc(features: Tensor, foreground: Tensor) -> float:
    inside = (foreground != 0).reshape(-1).cpu().numpy()
    if inside.all() or not inside.any():
        kind = "foreground" if inside.all() else "background"
        raise DataError(f"feature_mauc needs voxels of both kinds, this mask is all {kind}")
    areas = [_area(channel, inside) for channel in features]
    return float(np.mean([max(area, 1 - area) for area in areas]))


def _area(channel: Tensor, inside: np.ndarray) -> float:
    values = channel.detach().reshape(-1).double().cpu().numpy()
    if np.isnan(values).any():
        raise DataError("feature_mauc cannot rank features that are NaN; check the model's output")
    return require("sklearn.metrics", extra="demo").roc_auc_score(inside, values)
