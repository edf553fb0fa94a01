import json
from dataclasses import replace

import pytest
import torch

from lean3d import ACS, convert
from lean3d.data import Shapes2D, Shapes3D
from papers.acs import shape_training, shapes
from papers.acs.shape_figure import draw_shapes
from papers.acs.shape_text import differences, section
from papers.acs.shape_training import score, until_flat
from papers.acs.shape_unet import flat_unet, last_features, solid_unet, transfer
from papers.acs.shapes import FLAT, TINY, VARIANTS, work
from papers.results import Results


def measure(results, runs, scale=TINY):
    tiny = work(scale, "shapes")
    for name in tiny.names:
        results.get(name, 0, lambda name=name: tiny.measure(name, 0, runs, "cpu"))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """One seed of everything, by networks that have hardly begun to learn."""
    out = tmp_path_factory.mktemp("shapes")
    results = Results(out / "shapes.json", TINY.settings())
    measure(results, out / "runs")
    return out, results


@pytest.mark.slow
def test_every_variant_has_its_scores_and_its_curve(found):
    _, results = found
    assert [entry["name"] for entry in results.entries] == [FLAT, *VARIANTS]
    for entry in results.entries[1:]:
        assert 0 <= entry["iou"] <= entry["dice"] <= 1
        assert len(entry["curve"]) == entry["epochs"] == TINY.most
        assert not entry["flat"]
        assert {"commit", "hardware", "date"} <= entry["where"].keys()


@pytest.mark.slow
def test_a_second_call_trains_nothing_again_and_other_settings_start_over(found):
    out, _ = found
    before = (out / "shapes.json").read_text()
    measure(Results(out / "shapes.json", TINY.settings()), out / "none")
    assert (out / "shapes.json").read_text() == before
    assert not (out / "none").exists()
    assert not Results(out / "shapes.json", {"size": 1}).entries


def test_transferred_weights_are_those_that_convert_gives():
    flat = flat_unet((4, 8), 0)
    ours = transfer(flat.state_dict(), solid_unet("ACS", (4, 8), 1)).eval()
    theirs = convert(flat, ACS()).eval()
    ours.head, theirs.head = torch.nn.Identity(), torch.nn.Identity()
    x = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-4)


def test_encoder_only_leaves_the_decoder_fresh():
    flat, fresh = flat_unet((4, 8), 0), solid_unet("ACS", (4, 8), 1).state_dict()
    ours = transfer(flat.state_dict(), solid_unet("ACS", (4, 8), 1), ("encoder",)).state_dict()
    for name, value in ours.items():
        source = flat.state_dict() if name.startswith("encoder") else fresh
        assert torch.equal(value, source[name]), name


def test_the_last_features_are_what_the_head_reads():
    model = solid_unet("3D", (4, 8), 0).eval()
    x = torch.randn(2, 1, 16, 16, 16)
    features = last_features(model, x)
    assert features.shape == (2, 2, 16, 16, 16)
    torch.testing.assert_close(model.head(features), model(x))


@pytest.mark.slow
def test_the_papers_training_has_one_rate_and_all_its_epochs(tmp_path):
    scale = replace(TINY, fixed=True)
    found = work(scale, "shapes_paper").measure("3D r.", 0, tmp_path, "cpu")
    assert found["epochs"] == scale.most
    assert found["flat"]
    state = torch.load(tmp_path / "3d_r_0" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == 1e-3
    assert "rise" not in scale.settings()


@pytest.mark.slow
def test_training_ends_when_the_curve_is_flat_and_lowers_its_rate_before(tmp_path, monkeypatch):
    monkeypatch.setattr(shape_training, "SLOWER", 1)
    monkeypatch.setattr(shape_training, "STOP", 3)
    monkeypatch.setattr(shape_training, "RISE", 2.0)  # nothing rises by so much
    model = solid_unet("3D", (4, 8), 0)
    shapes = Shapes3D(4, 0, size=16), Shapes3D(2, 1, size=16)
    rows = until_flat(model, *shapes, tmp_path, seed=0, most=20)
    assert len(rows["epochs"]) == 4
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(1e-4)


@pytest.mark.parametrize(("kind", "best"), [(Shapes2D, 0.946), (Shapes3D, 0.895)])
def test_answers_in_blocks_of_two_cannot_reach_the_papers_dice(kind, best):
    class Blocks(torch.nn.Module):
        """The truth itself, as well as blocks of two can say it."""

        def forward(self, label):
            one = torch.nn.functional.one_hot(label, len(kind.names)).movedim(-1, 1).float()
            pool = getattr(torch.nn.functional, f"avg_pool{kind.ndim}d")
            return torch.nn.functional.interpolate(pool(one, 2), scale_factor=2)

    labels = [label for _, label in kind(40, 7)]
    found = score(Blocks(), [(label, label) for label in labels], kind.names)
    assert found["dice"] == pytest.approx(best, abs=0.01)


def test_a_network_that_says_nothing_scores_nothing():
    class Nothing(torch.nn.Module):
        def forward(self, x):
            return torch.eye(6)[0].view(1, 6, 1, 1, 1).expand(len(x), 6, *x.shape[2:])

    tests = Shapes3D(5, 0, size=16)
    found = score(Nothing(), tests, tests.names)
    assert found["dice"] == found["iou"] == 0


def test_differences_are_taken_within_a_seed(tmp_path):
    results = Results(tmp_path / "a.json", {})
    for seed, (first, second) in enumerate([(0.9, 0.8), (0.5, 0.6)]):
        results.get("ACS p.", seed, lambda first=first: {"dice": first})
        results.get("ACS r.", seed, lambda second=second: {"dice": second})
    results.get("ACS p.", 2, lambda: {"dice": 0.7})
    found = differences(results, "ACS p.", "ACS r.")
    assert found == pytest.approx([0.1, -0.1])


@pytest.mark.slow
def test_the_table_and_the_figure_say_what_is_there(found, tmp_path):
    _, results = found
    text = section(results)
    assert "| ACS p. | 95.4 |" in text
    assert "Not flat at their last epoch: 2.5D r. (seed 0)" in text
    assert "| ACS p. - ACS r. | +0.7 |" in text
    draw_shapes(results, tmp_path / "shapes", tuple(VARIANTS))
    assert (tmp_path / "shapes.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("paper", [[], ["--paper"]])
def test_the_command_measures_every_network(tmp_path, capsys, paper):
    pieces = [*paper, "--tiny", "--pieces", str(tmp_path / "p"), "--runs", str(tmp_path / "r")]
    shapes.main([*pieces, "--seeds", "0"])
    shapes.main([*pieces, "--collect"])
    assert "| ACS p. EO |" in capsys.readouterr().out
    stem = "shapes_paper" if paper else "shapes"
    entries = json.loads((tmp_path / "p/tiny" / f"{stem}.json").read_text())["entries"]
    assert [entry["name"] for entry in entries] == [FLAT, *VARIANTS]
    assert (tmp_path / "p/tiny" / f"{stem}.png").stat().st_size > 10_000
