import numpy as np
import pytest
import torch

from lean3d.data.volume import Volume, normalise
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


def test_every_channel_is_normalised_by_itself():
    volume = a_volume(channels=2)
    volume.image[1] = volume.image[1] * 40 - 300
    image = normalise(volume).image
    torch.testing.assert_close(image.mean((1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(image.std((1, 2, 3), correction=0), torch.ones(2))
    assert (image.flatten(1).argmax(1) == volume.image.flatten(1).argmax(1)).all()


def test_a_constant_background_does_not_count():
    image = torch.full((1, 6, 6, 6), -1024.0)
    inside = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(0)) * 50 + 40
    image[0, 1:5, 1:5, 1:5] = inside
    normal = normalise(Volume(image, None, AFFINE, "scan")).image
    torch.testing.assert_close(
        normal[0, 1:5, 1:5, 1:5], (inside - inside.mean()) / inside.std(correction=0)
    )
    assert normal[0, 0, 0, 0] < normal[0, 1:5, 1:5, 1:5].min()


def test_a_scan_of_two_values_is_normalised_over_all_voxels():
    image = torch.zeros(1, 4, 4, 4)
    image[0, 1:3, 1:3, 1:3] = 0.7
    normal = normalise(Volume(image, None, AFFINE, "scan")).image
    torch.testing.assert_close(normal.std(correction=0), torch.tensor(1.0))


def test_a_constant_crop_becomes_zero():
    volume = Volume(torch.full((1, 3, 3, 3), 7.3), None, AFFINE, "scan")
    assert not normalise(volume).image.any()


def test_normalising_leaves_the_rest_of_the_volume_alone():
    volume = a_volume()
    before = volume.image.clone()
    normal = normalise(volume)
    assert normal.label is volume.label
    assert normal.affine is volume.affine
    assert torch.equal(volume.image, before)
