import pytest

from papers.rows import TWICE, Row, report, verdict


def row(published, ours, note=""):
    return Row("net", "MACs", published, ours, "G", note)


@pytest.mark.parametrize(
    ("published", "ours", "exact"),
    [
        ("14.3", 14.322, True),
        ("14.3", 14.36, False),
        ("152", 152.356, True),
        ("63,527,717", 63_527_717, True),
        ("63,527,717", 63_527_716, False),
        ("46.9", 46.95, False),
    ],
)
def test_a_row_is_exact_if_it_rounds_to_what_the_paper_prints(published, ours, exact):
    assert row(published, ours).exact == exact


def test_ours_is_shown_with_two_more_digits_and_the_difference():
    assert row("14.3", 14.322).cells[2:6] == ("14.3", "14.322", "G", "exact")
    assert row("10.0", 12.5).cells[2:6] == ("10.0", "12.500", "G", "+25.0%")
    assert row("152", 152.356).cells[3] == "152.36"
    assert row("1,000", 990).cells[2:6] == ("1,000", "990", "G", "-1.0%")


def test_the_table_goes_between_the_markers_and_nothing_else_changes(tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("# before\n<!-- rows: begin -->\nold\n<!-- rows: end -->\nafter\n")
    report([row("14.3", 14.322), row("10", 12, "as printed")], tmp_path)
    text = readme.read_text()
    assert text.startswith("# before\n<!-- rows: begin -->\n| name |")
    assert text.endswith("1 of 2 exact.\n<!-- rows: end -->\nafter\n")
    assert "| net | MACs | 10 | 12 | G | +20.0% | as printed |" in text
    assert "old" not in text
    assert "1 of 2 exact." in capsys.readouterr().out
    report([row("14.3", 14.322)], tmp_path)
    assert readme.read_text().count("rows: begin") == 1


def test_a_row_that_is_set_aside_is_shown_in_brackets_and_not_counted():
    aside = Row("net", "MACs", "14.3", 14.322, "G", "as printed", aside=TWICE)
    assert aside.cells[5:] == ("(exact)", f"{TWICE}; as printed")
    assert verdict([row("14.3", 14.322), aside]) == "1 of 1 exact; 1 in brackets not counted."
    assert verdict([row("14.3", 14.322), row("10", 12)]) == "1 of 2 exact."
