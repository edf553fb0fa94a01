import pytest
import torch

from lean3d.data import Volume, cut_blocks
from lean3d.errors import DataError


def volume():
    label = torch.zeros(8, 8, 12, dtype=torch.int64)
    label[:, 4:] = 1
    place = torch.arange(label.numel(), dtype=torch.float32).view(1, *label.shape)
    return Volume(place, label, torch.eye(4).numpy(), "box")


def test_blocks_do_not_overlap_and_hold_enough_foreground():
    blocks = cut_blocks(volume(), (4, 4, 4), 6, min_foreground=0.5)
    places = torch.cat([block.image.flatten() for block in blocks])
    assert len(places.unique()) == len(places) == 6 * 64
    assert all((block.label == 1).all() for block in blocks)


def test_the_seed_chooses_them():
    def first(seed):
        return [float(b.image.min()) for b in cut_blocks(volume(), (4, 4, 4), 3, seed)]

    assert first(0) == first(0)
    assert any(first(0) != first(seed) for seed in range(1, 6))


@pytest.mark.parametrize("num", [0, 7])
def test_says_how_many_blocks_there_are(num):
    with pytest.raises(DataError, match=r"box has 6 blocks of \(4, 4, 4\) voxels with 30%"):
        cut_blocks(volume(), (4, 4, 4), num)


def test_needs_labels():
    with pytest.raises(DataError, match="box has none"):
        cut_blocks(Volume(volume().image, None, torch.eye(4).numpy(), "box"), (4, 4, 4), 1)
