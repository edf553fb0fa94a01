import pytest

from papers.stdcf.run import convolution, kth


def test_the_formulae_of_section_2_4_are_exact():
    formulae = [row for row in convolution() if row.quantity.endswith("of the formula")]
    assert len(formulae) == 4
    assert all(row.exact for row in formulae)


def test_the_ratio_of_section_2_4_is_its_limit_for_many_channels():
    few, many = (row.ours for row in convolution() if row.quantity == "FLOPs to 3D")
    assert few > many > 100 * 2 / 9


def test_half_the_frames_take_half_the_memory():
    saved = [row.ours for row in kth() if row.unit == "%"]
    assert saved == pytest.approx([50, 50, 50], abs=0.2)


def test_the_rank_1_form_takes_more_memory_and_atoms_take_no_more_than_3d():
    regular, rank1, stdcf = (row.ours for row in kth() if row.quantity == "memory, full size")
    assert rank1 - regular == pytest.approx(122.8, rel=0.05)
    assert 0 < regular - stdcf < 1
