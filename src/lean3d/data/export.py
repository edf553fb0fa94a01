"""Write a lean3d volume as a NIfTI image."""

from pathlib import Path

import numpy as np

from lean3d.data.volume import Volume
from lean3d.errors import DataError
from lean3d.files import write_whole
from lean3d.optional import require

__all__ = ["save_image"]


def save_image(path: str | Path, volume: Volume) -> None:
    """Write the image of a one-channel volume as float32, atomically.

    Raises:
        DataError: the name does not end in .nii or .nii.gz, the volume has several channels, or
            the file cannot be written.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise DataError(f"an image is written as .nii or .nii.gz, got {path}; change the ending")
    if len(volume.image) != 1:
        raise DataError(f"{volume.name} has {len(volume.image)} channels; save_image writes one")
    nibabel = require("nibabel", extra="volume")
    # ours are (D, H, W) to superior, anterior, right; NIfTI's are (right, anterior, superior)
    image_WHD = np.ascontiguousarray(volume.image[0].numpy().T)
    nifti = nibabel.Nifti1Image(image_WHD, volume.affine[:, [2, 1, 0, 3]])
    nifti.header.set_xyzt_units("mm")
    with write_whole(path) as temporary:
        nifti.to_filename(temporary)
