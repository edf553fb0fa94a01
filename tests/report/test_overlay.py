import numpy as np
import pytest
import torch

from lean3d.errors import ShapeError
from lean3d.report import draw_overlay
from lean3d.report.overlay import error_map
from lean3d.report.views import VIEWS, cut, fullest_slice, region, size_mm

AXIAL, CORONAL, SAGITTAL = VIEWS


def corner_marked():
    """One bright voxel far superior, anterior and right, in a volume of unequal axes."""
    volume = np.zeros((4, 5, 6))
    volume[-1, -1, -1] = 1
    return volume


@pytest.mark.parametrize(
    ("view", "letters", "index"), [(AXIAL, "RA", 3), (CORONAL, "RS", 4), (SAGITTAL, "AS", 5)]
)
def test_superior_anterior_and_right_are_on_top_or_on_the_viewers_left(view, letters, index):
    picture = cut(corner_marked(), view, index)
    assert picture[0, 0] == picture.sum() == 1
    assert (view.edges[0], view.edges[2]) == tuple(letters)


def test_opposite_edges_have_opposite_letters():
    pairs = {frozenset("RL"), frozenset("AP"), frozenset("SI")}
    for view in VIEWS:
        left, right, top, bottom = view.edges
        assert {frozenset((left, right)), frozenset((top, bottom))} < pairs


def test_pictures_have_the_proportions_of_the_body():
    sizes = [size_mm((10, 20, 30), (5.0, 2.0, 1.0), view) for view in VIEWS]
    assert sizes == [(30, 40), (30, 50), (40, 50)]


def test_shows_the_slice_with_most_foreground_or_the_middle_of_equal_ones():
    label = np.zeros((4, 5, 6), int)
    label[1, 2, 3] = label[1, 4, 3] = label[2, 4, 5] = label[3, 4, 3] = 2
    assert [fullest_slice(label, view) for view in VIEWS] == [1, 4, 3]
    assert [fullest_slice(label * 0, view) for view in VIEWS] == [2, 2, 3]


def test_the_region_holds_all_foreground_and_15_mm_around_it_inside_the_volume():
    label = np.zeros((40, 40, 40), int)
    label[20:24, 2:6, 10:30] = 1
    assert region(label, (5.0, 1.0, 3.0)) == (slice(17, 27), slice(0, 21), slice(5, 35))
    assert region(label * 0, (1.0, 1.0, 1.0)) == (slice(0, 40),) * 3


def test_errors_are_missed_added_or_of_the_wrong_class():
    truth, pred = np.array([0, 1, 1, 1, 0, 2]), np.array([0, 1, 0, 2, 3, 2])
    assert error_map(truth, pred).tolist() == [0, 0, 1, 3, 2, 0]


def volumes():
    truth = torch.zeros(20, 24, 28, dtype=torch.long)
    truth[6:14, 6:18, 6:22] = 1
    truth[8:12, 9:15, 10:18] = 2
    return torch.rand(truth.shape), truth, truth.roll(1, dims=2)


def test_draws_three_views_of_truth_prediction_and_errors_at_one_scale():
    spacing = (3.0, 1.0, 2.0)
    figure = draw_overlay(*volumes(), spacing=spacing, class_names=["none", "shell", "core"])
    assert len(figure.axes) == 9
    scales = set()
    for axes, view in zip(figure.axes[::3], VIEWS, strict=True):
        wide, high = axes.get_xlim()[1], axes.get_ylim()[0]
        box = axes.get_position()
        scales |= {round(box.width * figure.get_figwidth() / wide, 6)}
        scales |= {round(box.height * figure.get_figheight() / high, 6)}
        letters = [text.get_text() for text in axes.texts]
        assert letters[:4] == list(view.edges)
    assert len(scales) == 1
    names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert names == ["shell", "core", "missed", "added", "wrong class"]


def test_tells_the_share_of_wrong_voxels():
    image, truth, pred = volumes()
    shown = {text.get_text() for text in draw_overlay(image, truth, pred).texts}
    share = ((truth != pred).sum() / ((truth > 0) | (pred > 0)).sum()).item()
    assert f"Errors: {share:.1%} of the labelled voxels" in shown
    assert "Axial\n11 of 20" in shown


@pytest.mark.parametrize(("spacing", "bar"), [((2.0, 2.0, 2.0), "10 mm"), (None, "5 voxels")])
def test_the_scale_bar_is_in_voxels_when_the_spacing_is_unknown(spacing, bar):
    figure = draw_overlay(*volumes(), spacing=spacing)
    assert bar in {text.get_text() for axes in figure.axes for text in axes.texts}


def test_nothing_labelled_and_an_even_image_can_be_drawn():
    empty = np.zeros((5, 6, 7), int)
    figure = draw_overlay(empty * 1.0, empty, empty)
    figure.draw_without_rendering()
    assert "Errors: 0.0% of the labelled voxels" in {text.get_text() for text in figure.texts}


def test_refuses_volumes_of_different_shapes():
    image, truth, pred = volumes()
    with pytest.raises(ShapeError, match=r"got \(20, 24, 28\), \(20, 24, 28\) and \(19, 24, 28\)"):
        draw_overlay(image, truth, pred[1:])


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, float("nan"), 1.0)])
def test_refuses_spacing_that_is_no_length(spacing):
    with pytest.raises(ShapeError, match="three lengths in mm"):
        draw_overlay(*volumes(), spacing=spacing)
