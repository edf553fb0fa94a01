import itertools

import numpy as np
import pytest
import torch

from lean3d.data.shapes import SHAPES_2D, SHAPES_3D, Shapes2D, Shapes3D, flat, solid
from lean3d.errors import DataError

BOTH = pytest.mark.parametrize(("kind", "ndim", "shapes"), [(Shapes2D, 2, 3), (Shapes3D, 3, 4)])


def pieces(label):
    """The label cut into its quarters or octants."""
    halves = [slice(0, 24), slice(24, 48)]
    return [label[cut] for cut in itertools.product(halves, repeat=label.ndim)]


def found(dataset, name, names):
    """Every drawn shape of one name, cut out to its bounding box."""
    for _, label in dataset:
        for piece in pieces(label):
            inside = (piece == names.index(name)).numpy()
            if inside.any():
                where = np.argwhere(inside)
                first, last = where.min(0), where.max(0) + 1
                yield inside[tuple(map(slice, first, last))]


@BOTH
def test_samples_have_the_size_and_types_of_the_paper(kind, ndim, shapes):
    image, label = kind(1, seed=0)[0]
    assert (image.shape, image.dtype) == ((1, *[48] * ndim), torch.float32)
    assert (label.shape, label.dtype) == ((48,) * ndim, torch.int64)


@BOTH
def test_each_sample_fills_as_many_pieces_as_the_paper_says_with_one_shape_each(kind, ndim, shapes):
    for _, label in kind(20, seed=0):
        classes = [piece.unique() for piece in pieces(label)]
        filled = [values[values > 0] for values in classes]
        assert sum(len(values) > 0 for values in filled) == shapes
        assert max(map(len, filled)) == 1


@BOTH
def test_every_class_and_every_piece_comes_up_equally_often(kind, ndim, shapes):
    names = SHAPES_2D if ndim == 2 else SHAPES_3D
    classes, places = np.zeros(len(names)), np.zeros(2**ndim)
    for _, label in kind(300, seed=0):
        for place, piece in enumerate(pieces(label)):
            classes[piece.max()] += piece.any().item()
            places[place] += piece.any().item()
    expected = 300 * shapes / (len(names) - 1)
    assert (abs(classes[1:] - expected) < 4 * expected**0.5).all()
    assert (abs(places - 300 * shapes / 2**ndim) < 4 * (300 * shapes / 2**ndim) ** 0.5).all()


@BOTH
def test_the_noise_has_standard_deviation_one_half_around_0_and_1(kind, ndim, shapes):
    image, label = (torch.stack(parts) for parts in zip(*kind(40 // ndim, seed=0), strict=True))
    for value, inside in enumerate((label == 0, label > 0)):
        values = image[:, 0][inside]
        assert abs(values.mean() - value) < 0.02
        assert abs(values.std() - 0.5) < 0.02


@BOTH
def test_a_sample_is_the_same_whenever_and_however_many_are_asked_for(kind, ndim, shapes):
    few, many = kind(3, seed=5), kind(30, seed=5)
    many[7]
    for first, second in zip(few[2], many[2], strict=True):
        assert torch.equal(first, second)


@BOTH
def test_samples_and_seeds_differ(kind, ndim, shapes):
    images = [kind(3, seed)[index][0] for seed in (0, 1) for index in (0, 1, 2)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(images, 2))


@BOTH
def test_later_epochs_count_on_over_the_same_samples(kind, ndim, shapes):
    dataset = kind(3, seed=0)
    assert torch.equal(dataset[7][0], dataset[1][0])
    assert len(list(dataset)) == len(dataset) == 3


def test_refuses_an_empty_dataset():
    with pytest.raises(DataError, match="Shapes2D needs at least one sample"):
        Shapes2D(0)


def test_refuses_to_count_backwards():
    with pytest.raises(IndexError, match="Shapes3D counts from 0, got index -1"):
        Shapes3D(3)[-1]


def test_shapes_have_the_share_of_their_box_that_geometry_gives():
    shares = {
        "sphere": np.pi / 6,
        "cube": 1,
        "cylinder": np.pi / 4,
        "cone": np.pi / 12,
        "pyramid": 1 / 3,
    }
    for name, share in shares.items():
        assert abs(solid(name, 200, 200).mean() - share) < 0.005, name
    assert abs(flat("circle", 400).mean() - np.pi / 4) < 0.005
    assert flat("square", 7).all()


def test_a_section_across_the_axis_is_the_flat_shape():
    for round_one, square_one in (("cylinder", "cube"), ("cone", "pyramid")):
        assert (solid(round_one, 24, 9999)[-1] == flat("circle", 24)).all()
        assert (solid(square_one, 24, 9999)[-1] == flat("square", 24)).all()


@pytest.mark.parametrize("name", ["cone", "pyramid"])
def test_cones_and_pyramids_point_in_all_six_directions(name):
    directions = set()
    for inside in found(Shapes3D(60, seed=0), name, SHAPES_3D):
        if min(inside.shape) < 10:
            continue
        ends = [[inside.take(end, axis).mean() for end in (0, -1)] for axis in range(3)]
        axis, end = np.unravel_index(np.argmax(ends), (3, 2))
        directions.add((int(axis), int(end)))
        assert ends[axis][end] > 0.6
        assert ends[axis][1 - end] < 0.1
    assert len(directions) == 6


def test_cylinders_lie_along_all_three_axes():
    axes = set()
    for inside in found(Shapes3D(60, seed=0), "cylinder", SHAPES_3D):
        full = [axis for axis in range(3) if (inside == inside.take([0], axis)).all()]
        assert len(full) == 1
        axes |= set(full)
    assert axes == {0, 1, 2}


def test_sizes_run_from_5_voxels_to_the_whole_piece_with_height_apart_from_width():
    boxes = [sorted(b.shape) for b in found(Shapes3D(150, seed=0), "cylinder", SHAPES_3D)]
    assert min(map(min, boxes)) == 5
    assert max(map(max, boxes)) == 24
    assert any(box[0] != box[2] for box in boxes)
    cubes = [b.shape for b in found(Shapes3D(60, seed=0), "cube", SHAPES_3D)]
    assert all(len(set(shape)) == 1 for shape in cubes)


@BOTH
def test_a_smaller_side_has_as_many_shapes_in_smaller_pieces(kind, ndim, shapes):
    for image, label in kind(20, seed=3, size=24):
        assert image.shape[1:] == label.shape == (24,) * ndim
        halves = [slice(0, 12), slice(12, 24)]
        found = [label[cut].unique() for cut in itertools.product(halves, repeat=ndim)]
        assert sum(bool(values.max()) for values in found) == shapes
        assert all(len(values[values > 0]) <= 1 for values in found)


@pytest.mark.parametrize("size", [25, 8, 0])
def test_a_side_without_two_halves_for_shapes_is_refused(size):
    with pytest.raises(DataError, match=f"even and 10 or more, got {size}"):
        Shapes3D(1, size=size)
