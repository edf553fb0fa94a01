"""A real brain without a download: the MNI152 template with its tissue maps.

Fonov et al., Unbiased average age-appropriate brain templates, NeuroImage 47, 2009 (ICBM152 2009a,
nonlinear, symmetric), as nilearn packages it. Classes as in PmSCn Sec 4.2.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from lean3d.data.volume import Volume
from lean3d.errors import DataError
from lean3d.optional import require

__all__ = ["TISSUES", "brain_slabs", "mni152"]

# millimetres; the brain then has ten voxels a side
COARSEST = 20
TISSUES = ("background", "CSF", "grey", "white")


def mni152(spacing_mm: float = 1.0) -> Volume:
    """Load the T1 brain at a whole number of millimetres, with the tissue of every voxel.

    The image is the average T1 of 152 heads with the skull already removed by nilearn (exactly 0
    outside the brain), scaled to 0 .. 1. Grey and white matter are where their maps exceed one
    half, CSF the rest of the brain mask. At 1 mm it has 189 x 233 x 197 voxels.

    The template equals its own mirror image: a split into left and right would test on the
    training data, use `brain_slabs`.

    Raises:
        DataError: `spacing_mm` is not a whole number from 1 to 20.
    """
    if not 1 <= spacing_mm <= COARSEST or spacing_mm != int(spacing_mm):
        raise DataError(f"mni152 comes at 1, 2, 3, ... {COARSEST} mm, got spacing_mm={spacing_mm}")
    volume = _template(int(spacing_mm))
    assert volume.label is not None
    return replace(volume, image=volume.image.clone(), label=volume.label.clone())


# three seconds of resampling; a comparison loads the same volume a dozen times
@lru_cache(maxsize=1)
def _template(resolution: int) -> Volume:
    datasets = require("nilearn.datasets", extra="demo")
    scan = datasets.load_mni152_template(resolution=resolution)
    mask = datasets.load_mni152_brain_mask(resolution=resolution)
    grey = datasets.load_mni152_gm_template(resolution=resolution)
    white = datasets.load_mni152_wm_template(resolution=resolution)
    label = (_array(mask) > 0).astype(np.int64)
    label[(label == 1) & (_array(grey) > 0.5)] = 2
    label[(label == 1) & (_array(white) > 0.5)] = 3
    # nilearn's resampling leaves 1e-16 where the scan is 0
    image = np.where(np.abs(_array(scan)) < 1e-6, 0, _array(scan)).astype(np.float32)
    affine = scan.affine[:, [2, 1, 0, 3]]
    name = f"mni152_{resolution}mm"
    return Volume(torch.from_numpy(image)[None], torch.from_numpy(label), affine, name)


def _array(image) -> np.ndarray:
    """Transpose nilearn's maps, which are in RAS+ order."""
    return np.ascontiguousarray(np.asarray(image.dataobj).T)


def brain_slabs(
    volume: Volume, *, held_out: float = 0.3, gap_mm: float = 10.0, front: bool = True
) -> tuple[Volume, Volume]:
    """Split a labelled brain along H into slabs for training and for testing, with a gap between.

    Never along W: left and right mirror each other. The front is held out by default, because
    the cerebellum is at the back and a model not trained on it cannot label it. The gap (10 mm,
    more than the cortex is thick) is in neither slab.

    Args:
        held_out: Share of the labelled extent along H (front to back) that is tested on.
        front: Hold out the front; False holds out the back.

    Returns:
        (train, held-out), each as deep and wide as the volume.

    Raises:
        DataError: there are no labels, or too few rows with labels for both slabs and the gap.
    """
    if volume.label is None:
        raise DataError(f"brain_slabs needs labels, {volume.name} has none")
    height = volume.label.shape[1]
    rows = volume.label.amax(dim=(0, 2)).nonzero().flatten().tolist()
    first, last = (rows[0], rows[-1] + 1) if rows else (0, 0)
    tested = round(held_out * (last - first))
    gap = int(np.ceil(gap_mm / volume.spacing[1] - 1e-6))
    if gap_mm < 0 or not 0 < tested < last - first - gap:
        raise DataError(
            f"brain_slabs cannot cut {last - first} labelled rows of {volume.name} into "
            f"held_out={held_out} and a gap of {gap_mm} mm ({gap} rows); ask for less"
        )
    if front:
        edge = last - tested
        return volume.crop(1, 0, edge - gap), volume.crop(1, edge, height)
    edge = first + tested
    return volume.crop(1, edge + gap, height), volume.crop(1, 0, edge)
