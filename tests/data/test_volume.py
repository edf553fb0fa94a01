import numpy as np
import pytest
import torch

from lean3d.data.volume import Volume
from lean3d.errors import ShapeError

# voxels of 3 x 2 x 1.5 mm (D, H, W), first voxel at (-10, 5, 7) mm right, anterior, superior
AFFINE = np.array([[0, 0, 1.5, -10], [0, 2, 0, 5], [3, 0, 0, 7], [0, 0, 0, 1]], dtype=float)


def a_volume(channels=1, size=(4, 5, 6)):
    image = torch.randn(channels, *size, generator=torch.Generator().manual_seed(0))
    return Volume(image, (image[0] > 0).long(), AFFINE, "scan")


def test_spacing_is_the_length_of_a_voxel_along_each_axis():
    assert a_volume().spacing == (3, 2, 1.5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_crop_keeps_every_voxel_where_it_was_in_the_body(axis):
    whole = a_volume()
    part = whole.crop(axis, 1, 3)
    index = np.array([0, 0, 0, 1])
    moved = index + np.eye(4, dtype=int)[axis]
    d, h, w, _ = moved
    np.testing.assert_allclose(part.affine @ index, whole.affine @ moved)
    assert part.image[0, 0, 0, 0] == whole.image[0, d, h, w]
    assert part.label[0, 0, 0] == whole.label[d, h, w]


def test_a_crop_has_the_size_asked_for():
    part = a_volume().crop(2, 1, 5)
    assert part.image.shape == (1, 4, 5, 4)
    assert part.label.shape == (4, 5, 4)


@pytest.mark.parametrize("bad", [(3, 0, 1), (-1, 0, 1), (0, 2, 2), (0, 0, 5), (0, -1, 2)])
def test_refuses_to_crop_what_is_not_there(bad):
    with pytest.raises(ShapeError, match=r"Volume\.crop"):
        a_volume().crop(*bad)


def test_refuses_a_label_of_another_size():
    with pytest.raises(ShapeError, match=r"\(4, 5, 6\), got \(4, 5, 5\)"):
        Volume(torch.zeros(1, 4, 5, 6), torch.zeros(4, 5, 5, dtype=torch.long), AFFINE, "scan")


def test_refuses_an_image_without_channels():
    with pytest.raises(ShapeError, match=r"\(C, D, H, W\), got \(4, 5, 6\)"):
        Volume(torch.zeros(4, 5, 6), None, AFFINE, "scan")
