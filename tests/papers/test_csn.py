import pytest

from papers.csn.run import FOLDER, crops, table_2
from papers.csn.study import Point, draw_study, study_points, write_points
from papers.rows import markdown


@pytest.mark.parametrize(
    ("rows", "numbers"), [(table_2, 27), pytest.param(crops, 10, marks=pytest.mark.slow)]
)
def test_every_number_of_csn_is_exact_and_in_the_readme(rows, numbers):
    found = rows()
    assert len(found) == numbers
    assert not [row for row in found if not row.exact]
    assert "\n".join(markdown(found).splitlines()[2:]) in (FOLDER / "README.md").read_text()


def test_the_study_is_drawn_and_written_point_by_point(tmp_path):
    kinds = [("simple", ""), ("simple", "g"), ("bottleneck", ""), ("bottleneck", "dg")]
    points = [
        Point(f"{curve}_{blocks}", curve, blocks, kind, 1, 2.0 + blocks, 1.0, 0.1)
        for curve, kind in kinds
        for blocks in (8, 16)
    ]
    draw_study(points, tmp_path / "study")
    write_points(points, tmp_path / "study.csv")
    assert (tmp_path / "study.svg").stat().st_size > 10_000
    assert (tmp_path / "study.png").stat().st_size > 10_000
    lines = (tmp_path / "study.csv").read_text().splitlines()
    assert lines[0] == "name,curve,blocks,kind,groups,gmacs,mparams,gpairs"
    assert lines[1] == "simple_8,simple,8,,1,10.0,1.0,0.1"
    assert len(lines) == 9


@pytest.mark.slow
def test_the_numbers_of_the_study_are_what_the_command_writes(tmp_path):
    points = study_points()
    write_points(points, tmp_path / "study.csv")
    assert (tmp_path / "study.csv").read_text() == (FOLDER / "study.csv").read_text()
    base, *rest = (p for p in points if (p.curve, p.blocks) == ("bottleneck", 16))
    kept = [p for p in rest if p.kind in ("g", "d")]
    assert all(p.gpairs > 0.95 * base.gpairs for p in kept)
    assert all(p.gpairs < 0.5 * base.gpairs for p in rest if p not in kept)
