"""Small scans written to disk, for the tests of reading and writing them."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

BESIDE = Path(__file__).parents[3] / "shared" / "data"
CT = Path(os.environ.get("LEAN3D_DATA", BESIDE)) / "ct"
needs_ct = pytest.mark.skipif(not CT.is_dir(), reason="real CT absent; set LEAN3D_DATA")

SIZE, SPACING = (21, 26, 17), (0.9, 1.3, 2.5)


def oriented(axes, angle=0.0):
    """An affine whose voxel axes point as in "RAS", turned by `angle` degrees, off centre."""
    turn = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(axes), (1, 1, 1))
    affine = np.eye(4)
    tilt = Rotation.from_euler("zyx", [angle, -angle, angle / 2], degrees=True).as_matrix()
    affine[:3, :3] = tilt @ np.linalg.inv(turn[:3, :3]) * SPACING
    affine[:3, 3] = 12.5, -40, 7
    return affine


def write(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, oriented("RAS") if affine is None else affine), path)
    return path


def noise(size=SIZE):
    return np.random.default_rng(0).standard_normal(size).astype(np.float32)


def blobs(size=SIZE):
    """Two ellipsoids, classes 1 and 2, one of them at the edge."""
    index = np.indices(size) / np.array(size).reshape(3, 1, 1, 1)
    mask = np.zeros(size, dtype=np.uint8)
    for value, centre, radius in ((1, (0.35, 0.4, 0.5), 0.3), (2, (0.85, 0.8, 0.7), 0.25)):
        centre = np.array(centre).reshape(3, 1, 1, 1)
        mask[((index - centre) ** 2).sum(0) <= radius**2] = value
    return mask


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


AFFINES = {axes: oriented(axes) for axes in ("RAS", "LPS", "LAS", "SPL", "AIR", "PSR", "ILA")}
AFFINES |= {f"oblique {axes}": oriented(axes, 17) for axes in ("RAS", "LPI", "SAR")}
