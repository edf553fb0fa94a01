import numpy as np
import pytest
import torch

from lean3d.data import AUGMENTATIONS, Augmented, Neurites, PatchDataset, SectionAugmentation
from lean3d.errors import LeanError

IMAGE = torch.randn(2, 20, 24, 24, generator=torch.Generator().manual_seed(0))
LABEL = torch.arange(20 * 24 * 24).view(20, 24, 24) % 97 + 2**40


def changed(*names, seed=0, image=IMAGE, label=LABEL):
    return SectionAugmentation(names)(image, label, np.random.default_rng(seed))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_change_changes_a_crop_keeps_its_shape_and_repeats(name):
    results = [changed(name, seed=seed) for seed in range(4)]
    for image, label in results:
        assert (image.shape, label.shape) == (IMAGE.shape, LABEL.shape)
        assert image.dtype == torch.float32
        assert set(label.unique().tolist()) <= set(LABEL.unique().tolist())
    assert any(not torch.equal(image, IMAGE) for image, _ in results)
    assert torch.equal(changed(name)[0], results[0][0])


@pytest.mark.parametrize("name", ["mirror", "turn", "elastic"])
def test_labels_move_with_the_image(name):
    image = (LABEL % 97).float()[None]
    # a smooth image, so that interpolation between pixels keeps its values near
    z, y, x = torch.meshgrid(*map(torch.arange, (4, 32, 32)), indexing="ij")
    place = (100 * z + y + x).long()
    for seed in range(4):
        moved, label = changed(name, seed=seed, image=place[None].float(), label=place)
        assert (moved[0] - label).abs().max() < 1.01
    assert image.shape[0] == 1


@pytest.mark.parametrize("name", ["contrast", "noise", "missing", "blurred", "shifted"])
def test_defects_leave_labels_and_most_sections_alone(name):
    image, label = changed(name)
    assert torch.equal(label, LABEL)
    if name in ("missing", "blurred", "shifted"):
        same = (image == IMAGE).flatten(2).all(-1)[0]
        assert same.sum() >= 15


def test_turns_stay_in_the_plane_and_keep_oblong_crops():
    image, label = IMAGE[:, :, :, :12], LABEL[:, :, :12]
    for seed in range(6):
        turned, moved = changed("turn", seed=seed, image=image, label=label)
        assert turned.shape == image.shape
        for section in range(20):
            assert moved[section].sum() == label[section].sum()


def test_images_are_changed_too():
    image, label = SectionAugmentation()(IMAGE[:, 0], LABEL[0], np.random.default_rng(1))
    assert (image.shape, label.shape) == ((2, 24, 24), (24, 24))
    assert image.is_contiguous()


def test_a_sample_is_the_same_whenever_it_is_asked_for():
    volume = Neurites(shape=(8, 20, 20)).volume()
    data = Augmented(PatchDataset([volume], (4, 16, 16), 3), SectionAugmentation())
    assert len(data) == 3
    for a, b in zip(data[5], data[5], strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(data[5][0], data[6][0])


def test_refuses_an_unknown_name():
    with pytest.raises(LeanError, match="no augmentation called 'melt'"):
        SectionAugmentation(("melt",))
