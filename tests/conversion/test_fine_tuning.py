"""Fitted operators start fine-tuning from a lower loss than random ones, on the shapes."""

import fit
import pytest


@pytest.mark.slow
def test_fitted_operators_start_fine_tuning_lower_than_random_ones():
    rows = fit.fits(samples=24, epochs=10)
    dense, lean = rows[1], rows[2:]
    assert float(dense["fitted, start"]) < float(rows[0]["fitted, start"]) / 2
    assert len(lean) == len(fit.HOWS)
    for row in lean:
        assert float(row["fitted, start"]) < float(row["random, start"]), row["network"]
