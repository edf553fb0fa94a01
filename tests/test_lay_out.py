import pytest

from lean3d.table import lay_out, wrap

COLUMNS = [
    ["layer", "encoder.stages.0.blocks.1.conv2.weight_standardised", "head", "total"],
    ["type", "ScaledStdConv2dSame", "Linear", ""],
    *[[f"count {n} (unit)", "1,000,000", "20", "1,000,020"] for n in range(6)],
]


def test_a_table_that_fits_is_one_block():
    assert lay_out([["a", "bc"], ["n", "1"]], right=[1]).splitlines() == ["a   n", "-----", "bc  1"]


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_a_table_fits_its_width_and_keeps_every_number(width):
    text = lay_out(COLUMNS, right=range(2, 8), width=width, total=True)
    assert max(map(len, text.splitlines())) <= width
    blocks = text.split("\n\n")
    # every block begins with the first column, cut in the middle
    assert all(block.splitlines()[2].startswith("enco") for block in blocks)
    assert all("..." in block and "ised" in block for block in blocks)
    assert text.count("1,000,000") == 6
    assert all(f"count {n} (unit)" in text for n in range(6))


def test_sentences_in_cells_wrap_and_lose_no_word():
    what = "UNet over volumes; 1,164,582 parameters with nn.Conv3d, 389,286 with ACSConv3d"
    text = lay_out([["name", "unet3d"], ["what it is", what], ["n", "3"]], right=[2], width=60)
    assert max(map(len, text.splitlines())) <= 60
    assert all(word in text for word in what.split())
    assert text.splitlines()[2].startswith("unet3d  UNet over")
    assert text.splitlines()[2].endswith("  3")


def test_the_total_stands_below_a_rule():
    lines = lay_out(COLUMNS[:1], total=True).splitlines()
    assert lines[-1] == "total"
    assert lines[1] == lines[-2] == "-" * len(lines[2])


def test_a_table_without_rows_is_its_header():
    assert lay_out([["model"], ["dice"]]).splitlines() == ["model  dice", "-----------"]
    assert lay_out([]) == ""


def test_sentences_wrap_at_the_width_alone():
    assert wrap(["one two three", "four"], 9) == "one two\n  three\nfour"
    assert wrap(["one two three"], None) == "one two three"
