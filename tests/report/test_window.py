import numpy as np
import pytest

from lean3d.report.window import tissue_window


def test_the_window_is_that_of_the_labelled_tissue_and_what_is_around_it():
    image = np.linspace(-1000, 1000, 20_001).reshape(1, 1, -1)
    label = (image >= 0) & (image <= 100)
    low, high = tissue_window(image, label)
    assert (low, high) == pytest.approx((-48, 148), abs=1)


def test_the_window_stays_within_the_image():
    image = np.array([5.0, 10, 20, 30])
    assert tissue_window(image, image > 5) == (5, 30)


def test_without_labels_the_surroundings_do_not_count():
    image = np.array([-1000.0] * 50 + list(range(101)))
    assert tissue_window(image, image > 1e9) == (pytest.approx(1), pytest.approx(99))
    assert tissue_window(np.zeros(3), np.zeros(3)) == (0, 1)
