import pickle

import numpy as np
import pytest
import torch

from lean3d.data import Augmentation
from lean3d.data.augment import ORDER, PRESETS
from lean3d.errors import DataError

SIZES = [(6, 10, 12), (10, 12)]
SHAPE = {"rotate", "scale", "elastic", "mirror"}


def crop(size):
    random = torch.Generator().manual_seed(0)
    label = torch.zeros(size, dtype=torch.long)
    label[..., 2:7, 3:9] = 2
    return torch.randn(2, *size, generator=random), label


def changed(change, size, num=40):
    image, label = crop(size)
    return [change(image, label, np.random.default_rng(seed)) for seed in range(num)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ORDER)
def test_every_change_keeps_sizes_types_and_classes(name, size):
    image, label = crop(size)
    found = changed(Augmentation([name], size), size)
    assert {(x.shape, y.shape) for x, y in found} == {(image.shape, label.shape)}
    assert {(type(x), x.dtype, y.dtype) for x, y in found} == {
        (torch.Tensor, torch.float32, torch.int64)
    }
    assert {value for _, y in found for value in y.unique().tolist()} <= {0, 2}
    moved = sum(not torch.equal(x, image) for x, _ in found)
    assert 0 < moved < len(found)
    # grey values alone change, or image and labels together
    labels = sum(not torch.equal(y, label) for _, y in found)
    assert (labels > 0) == (name in SHAPE)


@pytest.mark.parametrize("size", SIZES)
def test_a_seed_gives_one_crop_also_in_another_process(size):
    change = Augmentation(["nnunet", "elastic"], size)
    copy = pickle.loads(pickle.dumps(change))
    for (x, y), (again, label) in zip(
        changed(change, size, 8), changed(copy, size, 8), strict=True
    ):
        assert torch.equal(x, again)
        assert torch.equal(y, label)


def test_mirrors_move_labels_with_the_image():
    size = (6, 10, 12)
    label = crop(size)[1]
    for x, y in (
        Augmentation(["mirror"], size)(label[None].float(), label, np.random.default_rng(seed))
        for seed in range(10)
    ):
        assert torch.equal(x[0].long(), y)


def test_thin_crops_are_turned_in_their_plane():
    image = torch.arange(3.0).view(1, 3, 1, 1).expand(1, 3, 16, 16).contiguous()
    label = image[0].long()
    for seed in range(30):
        x, y = Augmentation(["rotate"], (3, 16, 16))(image, label, np.random.default_rng(seed))
        torch.testing.assert_close(x, image)
        assert torch.equal(y, label)


def test_the_class_of_a_whole_volume_stays():
    change = Augmentation(["nnunet"], (6, 8, 8))
    x, y = change(torch.randn(1, 6, 8, 8), torch.tensor(1), np.random.default_rng(2))
    assert x.shape == (1, 6, 8, 8)
    assert y == 1


def test_presets_and_single_changes_add_up():
    names = Augmentation(["light", "mirror"], (8, 8)).names
    assert set(names) == {*PRESETS["light"], "mirror"}
    assert Augmentation(["none"], (8, 8)).names == []
    with pytest.raises(DataError, match="no augmentation called 'spin'"):
        Augmentation(["spin"], (8, 8))
