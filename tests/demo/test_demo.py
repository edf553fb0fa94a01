import json
from dataclasses import replace

import nibabel
import pytest

from examples.demo import compare
from lean3d.cli.main import main


@pytest.fixture
def tiny(monkeypatch):
    whole = compare.METHODS["brain"]

    def few(out):
        small = dict(widths=(2, 4), epochs=1, train_samples=2, val_samples=2, batch_size=2)
        chosen = {name: r for name, r in whole(out).items() if name in ("2D", "3D", "ACS from 2D")}
        return {name: replace(recipe, **small) for name, recipe in chosen.items()}

    monkeypatch.setitem(compare.METHODS, "brain", few)


def test_the_demo_ends_with_the_report_and_the_table_as_json(tiny, tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    *_, place, last = capsys.readouterr().out.strip().splitlines()
    assert place == f"the report is {out / 'report.html'}"
    assert [row["method"] for row in json.loads(last)] == ["2D", "3D", "ACS from 2D"]
    page = (out / "report.html").read_text()
    assert all(word in page for word in ("CSF", "MACs per voxel", "ACS from 2D", "image/png"))
    assert "http://" not in page.replace("http://www.w3.org", "")
    image, mask = (nibabel.load(out / f"held_out_{what}.nii.gz") for what in ("t1", "tissues"))
    assert image.shape == mask.shape
    assert (image.affine == mask.affine).all()
    # finished: refused without --resume, given again with it
    assert main(["demo", "--out", str(out)]) == 2
    assert "pass --resume" in capsys.readouterr().err


def test_without_a_checkout_the_demo_says_where_it_is(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("lean3d.cli.demo.HOME", tmp_path)
    assert main(["demo"]) == 2
    assert "git clone https://github.com/lean3d/lean3d" in capsys.readouterr().err
