import numpy as np
import pytest
import torch

from lean3d.data import Neurites
from lean3d.errors import LeanError


@pytest.fixture(scope="module")
def drawn():
    return Neurites(shape=(24, 40, 48), seed=3).volume()


def test_neurites_fill_a_volume_and_are_many(drawn):
    ids, counts = drawn.label.unique(return_counts=True)
    assert len(ids) > 8
    assert drawn.label.min() >= 0
    assert counts[ids == 0].sum() < 0.2 * drawn.label.numel()


def test_membranes_are_dark_where_labels_meet(drawn):
    image, label = drawn.image[0], drawn.label
    meet = (label[:, :, 1:] != label[:, :, :-1]) & (label[:, :, 1:] > 0) & (label[:, :, :-1] > 0)
    assert image[:, :, 1:][meet].mean() < 90
    assert image[label > 0].mean() > image[:, :, 1:][meet].mean() + 30


def test_a_window_equals_that_part_of_the_whole(drawn):
    raw, labels = Neurites(shape=(24, 40, 48), seed=3).draw((5, 7, 30), (9, 20, 18))
    part = np.s_[5:14, 7:27, 30:48]
    np.testing.assert_array_equal(labels, drawn.label.numpy()[part])
    np.testing.assert_array_equal(raw, drawn.image[0].numpy()[part])


def test_every_setting_changes_the_volume():
    base = dict(shape=(6, 24, 24), voxel_nm=(10.0, 10.0, 10.0))
    first = Neurites(**base).draw((0, 0, 0), (6, 24, 24))[0]
    for name, value in {
        "voxel_nm": (40.0, 10.0, 10.0),
        "radius_nm": 60.0,
        "membrane_nm": 60.0,
        "noise": 0.0,
        "density": 4.0,
        "seed": 1,
    }.items():
        other = Neurites(**base | {name: value}).draw((0, 0, 0), (6, 24, 24))[0]
        assert (first != other).any(), name


def test_thick_sections_show_no_membrane_that_lies_flat():
    thick = Neurites(shape=(8, 48, 48), voxel_nm=(50, 8, 8), noise=0.0).volume()
    meet = thick.label[1:] != thick.label[:-1]
    assert (thick.image[0, 1:][meet] < 75).float().mean() < 0.9
    np.testing.assert_allclose(thick.spacing, (50e-6, 8e-6, 8e-6))
    assert thick.image.dtype == torch.float32


@pytest.mark.parametrize(
    "bad",
    [
        dict(shape=(0, 4, 4)),
        dict(shape=(4, 4, 4), voxel_nm=(1, 1)),
        dict(shape=(4, 4, 4), voxel_nm=(1, 1, -1)),
        dict(shape=(4, 4, 4), radius_nm=0.0),
        dict(shape=(4, 4, 4), noise=float("nan")),
        dict(shape=(4, 4, 4), seed=-1),
        dict(shape=(2**20, 2**20, 2**20)),
    ],
)
def test_refuses_a_volume_that_cannot_be(bad):
    with pytest.raises(LeanError, match="Neurites"):
        Neurites(**bad)


def test_refuses_a_window_outside():
    with pytest.raises(LeanError, match="no window"):
        Neurites(shape=(4, 4, 4)).draw((2, 0, 0), (3, 4, 4))
