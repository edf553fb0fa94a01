import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lean3d.data.patches import EpochSampler, PatchDataset, SliceDataset
from lean3d.data.volume import Volume
from lean3d.errors import DataError


def numbered(*size, name="scan", channels=2):
    """A volume whose voxels carry their own position, so that a crop tells where it is from."""
    place = torch.arange(np.prod(size)).reshape(size)
    image = torch.stack([place + 1000 * c for c in range(channels)]).float()
    return Volume(image, place % 7, np.eye(4), name)


def sparse():
    """Foreground in one place of 2 x 2 x 2 voxels alone."""
    label = torch.zeros(32, 32, 32, dtype=torch.long)
    label[14:16, 20:22, 9:11] = 1
    return Volume(torch.randn(1, 32, 32, 32), label, np.eye(4), "sparse")


DATASETS = {
    "patches": lambda seed: PatchDataset([numbered(9, 10, 11)], (4, 5, 6), 8, seed, flips=(0, 2)),
    "slices": lambda seed: SliceDataset([numbered(9, 10, 11)], (0, 1, 2), (5, 6), 8, seed),
}
BOTH = pytest.mark.parametrize("make", DATASETS.values(), ids=DATASETS)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@BOTH
def test_a_crop_depends_on_seed_and_index_alone(make):
    used, fresh = make(3), make(3)
    for _ in used:
        pass
    assert same(used[5], fresh[5])
    assert not same(make(4)[5], fresh[5])
    assert not same(fresh[6], fresh[5])


@BOTH
def test_image_and_label_are_cut_at_the_same_place(make):
    for image, label in make(0):
        assert torch.equal(image[0].long() % 7, label)
        assert torch.equal(image[1], image[0] + 1000)


@BOTH
def test_an_epoch_has_the_length_asked_for_and_the_next_one_new_crops(make):
    dataset = make(0)
    assert len(dataset) == len(list(dataset)) == 8
    assert not any(same(dataset[8 + i], dataset[i]) for i in range(8))


@BOTH
def test_crops_do_not_carry_the_whole_volume_along(make):
    for part in make(0)[0]:
        assert part.is_contiguous()
        assert part.untyped_storage().nbytes() == part.nbytes


@BOTH
@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_gives_the_same_batches_with_and_without_workers(make, workers):
    dataset, sampler = make(0), EpochSampler(8, seed=1)
    sampler.set_epoch(2)
    # spawn, because Python warns of fork in a process with threads
    how = dict(num_workers=workers, multiprocessing_context="spawn") if workers else {}
    images = torch.cat([image for image, _ in DataLoader(dataset, 4, sampler=sampler, **how)])
    assert torch.equal(images, torch.stack([dataset[index][0] for index in sampler]))


def test_patches_have_the_shape_and_types_a_model_takes():
    image, label = DATASETS["patches"](0)[0]
    assert (image.shape, image.dtype) == ((2, 4, 5, 6), torch.float32)
    assert (label.shape, label.dtype) == ((4, 5, 6), torch.int64)


def test_patches_reach_every_corner_of_every_volume():
    volumes = [numbered(3, 4, 5), numbered(4, 3, 5, name="other")]
    seen = [torch.zeros(v.label.numel(), dtype=torch.bool) for v in volumes]
    for image, _ in PatchDataset(volumes, (2, 2, 2), 300):
        # in a volume 4 x 3 x 5 a step along H is 5, along D 15; in the first 20
        which = int(image[0, 1, 0, 0] - image[0, 0, 0, 0] == 15)
        seen[which][image[0].long()] = True
    assert all(voxels.all() for voxels in seen)


@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
def test_only_the_axes_asked_for_are_mirrored_each_half_of_the_time(flips):
    mirrored = np.zeros(3)
    for image, _ in PatchDataset([numbered(6, 6, 6)], (3, 3, 3), 200, flips=flips):
        steps = image[0, 1, 0, 0], image[0, 0, 1, 0], image[0, 0, 0, 1]
        mirrored += [bool(step < image[0, 0, 0, 0]) for step in steps]
    for axis in range(3):
        assert (60 < mirrored[axis] < 140) if axis in flips else mirrored[axis] == 0


def test_a_volume_smaller_than_the_patch_is_centred_and_its_edge_goes_on():
    image, label = PatchDataset([numbered(2, 3, 4, channels=1)], (4, 3, 4), 1)[0]
    inside = torch.arange(24).reshape(2, 3, 4)
    assert torch.equal(image[0].long(), torch.stack([inside[0], *inside, inside[1]]))
    assert torch.equal(label, image[0].long() % 7)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_cut_across_the_axis_asked_for(axis):
    across = {0: (11, 1), 1: (110, 1), 2: (110, 11)}
    for image, _ in SliceDataset([numbered(9, 10, 11)], (axis,), (5, 6), 10):
        steps = image[0, 1, 0] - image[0, 0, 0], image[0, 0, 1] - image[0, 0, 0]
        assert steps == across[axis]


def test_slices_come_from_all_axes_and_have_the_size_asked_for():
    axes = set()
    for image, label in SliceDataset([numbered(9, 10, 11)], size=(5, 6), per_epoch=40):
        assert (image.shape, label.shape) == ((2, 5, 6), (5, 6))
        axes.add((int(image[0, 1, 0] - image[0, 0, 0]), int(image[0, 0, 1] - image[0, 0, 0])))
    assert axes == {(11, 1), (110, 1), (110, 11)}


@pytest.mark.parametrize(
    "crops",
    [
        lambda least: PatchDataset([sparse()], (8, 8, 8), 40, min_foreground=least),
        lambda least: SliceDataset([sparse()], size=(8, 8), per_epoch=40, min_foreground=least),
    ],
    ids=["patches", "slices"],
)
def test_foreground_asked_for_is_found_however_rare(crops):
    found = [label.any().item() for _, label in crops(0.01)]
    assert sum(found) == 40
    assert sum(label.any().item() for _, label in crops(0.0)) < 10


def test_a_crop_around_foreground_has_it_anywhere_inside():
    times = torch.zeros(8)
    for _, label in PatchDataset([sparse()], (8, 8, 8), 200, min_foreground=1e-3):
        times += label.amax(dim=(1, 2))
    assert times.min() > 25


def test_without_any_foreground_a_crop_is_given_all_the_same():
    empty = Volume(torch.zeros(1, 8, 8, 8), torch.zeros(8, 8, 8).long(), np.eye(4), "empty")
    assert SliceDataset([empty], size=(4, 4), per_epoch=2)[0][0].shape == (1, 4, 4)


def test_sampler_gives_every_epoch_its_own_indices_each_once():
    sampler = EpochSampler(50, seed=0)
    first = list(sampler)
    sampler.set_epoch(3)
    fourth = list(sampler)
    assert sorted(first) == list(range(50))
    assert sorted(fourth) == list(range(150, 200))
    assert [index - 150 for index in fourth] != first != sorted(first)
    assert len(sampler) == 50


def test_sampler_order_depends_on_seed_and_epoch_alone():
    used, fresh, other = EpochSampler(50, 0), EpochSampler(50, 0), EpochSampler(50, 1)
    for epoch in range(3):
        used.set_epoch(epoch)
        list(used)
    fresh.set_epoch(2)
    other.set_epoch(2)
    assert list(used) == list(fresh) == list(fresh) != list(other)


def test_sampler_keeps_the_order_when_told_not_to_shuffle():
    sampler = EpochSampler(4, shuffle=False)
    sampler.set_epoch(1)
    assert list(sampler) == [4, 5, 6, 7]


NO_LABEL = Volume(torch.zeros(1, 4, 4, 4), None, np.eye(4), "bare")


@pytest.mark.parametrize(
    ("volumes", "sentence"),
    [
        ([], "got no volumes"),
        ([NO_LABEL], "needs labels, volume bare has none"),
        ([numbered(4, 4, 4), numbered(4, 4, 4, channels=1, name="b")], "b has 1 where scan has 2"),
    ],
)
def test_refuses_volumes_it_cannot_cut(volumes, sentence):
    with pytest.raises(DataError, match=f"PatchDataset .*{sentence}"):
        PatchDataset(volumes, (2, 2, 2), 1)
    with pytest.raises(DataError, match=f"SliceDataset .*{sentence}"):
        SliceDataset(volumes)


def test_refuses_sizes_and_axes_that_are_none():
    volumes = [numbered(4, 4, 4)]
    with pytest.raises(DataError, match=r"PatchDataset takes a patch .* got \(2, 2\)"):
        PatchDataset(volumes, (2, 2), 1)
    with pytest.raises(DataError, match=r"flips among axes 0, 1, 2, got .* \(3,\)"):
        PatchDataset(volumes, (2, 2, 2), 1, flips=(3,))
    with pytest.raises(DataError, match=r"SliceDataset takes axes .* got \(3,\)"):
        SliceDataset(volumes, (3,))
    with pytest.raises(
        DataError, match="at least one sample and a seed of 0 or more, got 1 and -1"
    ):
        PatchDataset(volumes, (2, 2, 2), 1, seed=-1)


def test_crops_around_the_middle_move_by_as_much_as_asked():
    volume = numbered(20, 20, 20, channels=1)
    still = PatchDataset([volume], (8, 8, 8), 4, middle=0)
    assert all(torch.equal(x, volume.image[:, 6:14, 6:14, 6:14]) for x, _ in still)
    moved = PatchDataset([volume], (8, 8, 8), 200, middle=2)
    corners = np.array([np.unravel_index(int(x[0, 0, 0, 0]), (20, 20, 20)) for x, _ in moved])
    assert set(corners.ravel()) == {4, 5, 6, 7, 8}
    # a volume that is smaller than the crop is padded, and may move as well
    x, y = PatchDataset([numbered(4, 4, 4, channels=1)], (8, 8, 8), 1, middle=5)[0]
    assert x.shape[1:] == y.shape == (8, 8, 8)


def test_turned_crops_keep_image_and_label_together():
    crops = list(PatchDataset([numbered(6, 6, 6, channels=1)], (6, 6, 6), 300, turns=True))
    assert len({tuple(x.flatten()[:7].tolist()) for x, _ in crops}) == 24
    for x, y in crops:
        assert torch.equal((x[0] % 7).long(), y)
        assert y.dtype == torch.int64
    with pytest.raises(DataError, match="equal sides"):
        PatchDataset([numbered(6, 6, 6, channels=1)], (6, 6, 4), 1, turns=True)


def with_a_rare_class():
    """Class 1 fills half of a volume, class 2 one voxel, class 3 one voxel of another volume."""
    volumes = []
    for rare in (2, 3):
        label = torch.zeros(24, 24, 24, dtype=torch.long)
        label[:, :12] = 1
        label[17, 20, 3] = rare
        volumes.append(Volume(torch.randn(1, 24, 24, 24), label, np.eye(4), f"with {rare}"))
    return volumes


@pytest.mark.parametrize("kind", ["patches", "slices"])
def test_every_class_is_in_its_share_of_the_crops(kind):
    def seen(oversample):
        if kind == "patches":
            crops = PatchDataset(with_a_rare_class(), (4, 4, 4), 300, oversample=oversample)
        else:
            crops = SliceDataset(
                with_a_rare_class(), (0, 2), (4, 4), 300, min_foreground=0, oversample=oversample
            )
        return [sum(bool((label == value).any()) for _, label in crops) for value in (2, 3)]

    # a third of them each, all three classes having the same share
    assert all(70 < count < 140 for count in seen(1.0))
    assert all(20 < count < 75 for count in seen(0.4))
    assert all(count < 12 for count in seen(0.0))


@pytest.mark.parametrize("odd", [dict(oversample=1.5), dict(oversample=0.3, middle=2)])
def test_odd_oversampling_is_refused(odd):
    with pytest.raises(DataError, match=r"oversample"):
        PatchDataset(with_a_rare_class(), (4, 4, 4), 8, **odd)
