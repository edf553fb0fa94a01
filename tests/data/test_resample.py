import numpy as np
import pytest

from lean3d.data.resample import resample, resample_classes, resample_labels


def ball(size, centre, radius):
    distance = sum((i - c) ** 2 for i, c in zip(np.indices((size,) * 3), centre, strict=True))
    return distance <= radius**2


def test_a_linear_ramp_is_read_at_exactly_the_place_asked_for():
    x = sum(i * w for i, w in zip(np.indices((8, 9, 10)), (1.0, 10.0, 100.0), strict=True))
    out = resample(x, step=(0.5, 1.5, 2), offset=(0.25, 0.5, 1), size=(9, 5, 4))
    d, h, w = np.indices((9, 5, 4))
    expected = (0.5 * d + 0.25) + 10 * (1.5 * h + 0.5) + 100 * (2 * w + 1)
    np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_beyond_the_last_voxel_the_edge_goes_on():
    x = np.arange(4, dtype=np.float32).reshape(4, 1, 1)
    out = resample(x, step=(1, 1, 1), offset=(-2, 0, 0), size=(8, 1, 1))
    assert out.flatten().tolist() == [0, 0, 0, 1, 2, 3, 3, 3]


@pytest.mark.parametrize("step", [2, 3, 1.4])
def test_labels_stay_centred_where_they_were(step):
    label = ball(48, (20, 25, 22.5), 9)
    offset, size = (step - 1) / 2, int(np.ceil(48 / step))
    classes = [(0, ~label), (1, label)]
    small = resample_classes(classes, [step] * 3, [offset] * 3, (size,) * 3)
    centre = np.argwhere(small == 1).mean(0) * step + offset
    np.testing.assert_allclose(centre, np.argwhere(label).mean(0), atol=0.15 * step)


def test_the_class_with_the_largest_weight_wins():
    weights = np.random.default_rng(0).random((3, 4, 5, 6)).astype(np.float32)
    same = dict(step=(1, 1, 1), offset=(0, 0, 0), size=(4, 5, 6))
    out = resample_classes(zip((7, 2, 5), weights, strict=True), **same)
    assert (out == np.array([7, 2, 5])[weights.argmax(0)]).all()


@pytest.mark.parametrize("step", [(1.5, 0.7, 3), (1, 1, 1), (0.4, 0.4, 2.5), (5, 0.13, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_labels_are_resampled_as_their_classes_are_one_by_one(step, dtype):
    random = np.random.default_rng(0)
    # pieces of a few voxels, from classes that leave out numbers, in more than one block
    coarse = random.choice([0, 3, 4, 7, 116], (6, 21, 9)).astype(dtype)
    label = coarse.repeat(3, 0).repeat(4, 1).repeat(3, 2)
    offset = [(s - 1) / 2 for s in step]
    size = tuple(int(np.ceil(n / s)) for n, s in zip(label.shape, step, strict=True))
    classes = ((value, label == value) for value in (0, 3, 4, 7, 116))
    expected = resample_classes(classes, step, offset, size)
    out = resample_labels(label, step, offset, size)
    assert out.dtype == label.dtype
    np.testing.assert_array_equal(out, expected)
