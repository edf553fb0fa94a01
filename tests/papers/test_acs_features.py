import json
from dataclasses import asdict

import pytest
import torch

from lean3d.data import Shapes3D
from papers.acs import features
from papers.acs.feature_figure import draw_features
from papers.results import Results

TINY = features.TINY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """One seed, by 2D networks that have hardly begun to learn."""
    out = tmp_path_factory.mktemp("features")
    results = Results(out / "features.json", asdict(TINY))
    features.measure(TINY, results, out / "runs", (0,))
    return out, results


def test_every_network_has_the_area_of_its_features_and_of_its_answers(found):
    _, results = found
    assert [entry["name"] for entry in results.entries] == ["2D", *features.PAPER]
    for entry in results.entries[1:]:
        assert 0.5 <= entry["features"] <= 1
        assert 0.5 <= entry["answers"] <= 1


def test_a_pretrained_network_has_the_whole_2d_weights_and_one_from_scratch_none(found):
    out, _ = found
    flat = TINY.flat(out / "runs").trained(0)[0].state_dict()
    for name in ("2.5D p.", "ACS p."):
        ours = features.built(name, TINY, 0, out / "runs").state_dict()
        assert all(torch.equal(ours[key], value) for key, value in flat.items()), name
    assert not torch.equal(
        features.built("ACS r.", TINY, 0, out / "runs").head.weight, flat["head.weight"]
    )


def test_the_table_has_the_papers_number_beside_ours(found):
    _, results = found
    text = features.section(results)
    assert "| ACS p. | 88.1 |" in text
    assert "(1 of 3 seeds)" in text
    assert "paper: 98.57" in text


def test_the_figure_is_drawn(found, tmp_path):
    out, results = found
    models = {n: features.built(n, TINY, 0, out / "runs") for n in ("ACS r.", "ACS p.")}
    volume = Shapes3D(1, 2, size=16)[0]
    draw_features(results, features.PAPER, models, volume, tmp_path / "features")
    assert (tmp_path / "features.png").stat().st_size > 10_000


def test_the_command_measures_and_draws_all_seeds(tmp_path, capsys):
    features.main(["--tiny", str(tmp_path)])
    assert "| ACS p. | 88.1 |" in capsys.readouterr().out
    entries = json.loads((tmp_path / "features.json").read_text())["entries"]
    assert len(entries) == 3 * (1 + len(features.PAPER))
    assert (tmp_path / "features.png").stat().st_size > 10_000
