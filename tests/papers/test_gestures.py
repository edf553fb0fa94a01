from dataclasses import replace

import pytest
import torch

from lean3d.data import MOTIONS, MovingDigits
from lean3d.files import write_text
from lean3d.models import create_model
from lean3d.recipes import get_recipe
from papers.d3d import gestures
from papers.d3d.gesture_scores import Network, Videos, heads_by_frame, verdict

TINY = dict(widths=(4, 4, 4, 4), epochs=1, train_samples=16, val_samples=23, video=20)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The whole evidence, from networks that have hardly begun to learn."""
    out = tmp_path_factory.mktemp("gestures")
    todo = gestures.plan(out / "runs", **TINY)
    heads = {name: replace(r, videos=23) for name, r in list(todo.heads.items())[1:2]}
    lengths = {n: replace(r, videos=23) for n, r in list(todo.lengths.items())[-1:]}
    videos = Videos(MovingDigits(23, 5, split="val", frames=20))
    return out, gestures.measure(replace(todo, heads=heads, lengths=lengths), out / "runs", videos)


def test_every_network_has_its_cost_and_its_scores(found):
    rows = {row["network"]: row for row in found[1]["networks"]}
    assert list(rows) == [
        *(f"D-ResNet-18, {skip}" for skip in ("concat", "none", "sum")),
        "3D-ResNet-18",
    ]
    assert all(0 <= row["top-1"] <= 1 and 0 <= row["one clip"] <= 1 for row in rows.values())
    ours, none, rival = (
        rows[n] for n in ("D-ResNet-18, concat", "D-ResNet-18, none", "3D-ResNet-18")
    )
    assert none["params"] < ours["params"]
    assert none["MACs per answer"] < ours["MACs per answer"] < rival["MACs per answer"]


def test_heads_are_scored_by_tenths_and_with_their_middle_erased(found):
    heads = [row["head"] for row in found[1]["heads"]]
    assert heads == ["fc", "2-layer LSTM"]
    for name in heads:
        assert len(found[1]["segments"][name]) == 10
        assert len(found[1]["erasure"][name]) == len(found[1]["erased"])
        assert found[1]["erasure"][name][0] == found[1]["heads"][heads.index(name)]["top-1"]


def test_numbers_section_and_figures_are_written(found, tmp_path):
    write_text(tmp_path / "README.md", "<!-- gestures: begin -->\n<!-- gestures: end -->\n")
    gestures.write(found[1], tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "| D-ResNet-18, concat |" in text
    assert "| 2-layer LSTM |" in text
    assert "erased 95%" in text
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [n for n in names if n.endswith(".svg")] == [
        "gestures_causality.svg",
        "gestures_cost.svg",
        "gestures_lengths.svg",
    ]
    assert "gestures.json" in names


def test_a_second_call_trains_nothing_again(found):
    out, _ = found
    recipe = gestures.plan(out / "runs", **TINY).networks["D-ResNet-18, sum"]
    before = (out / "runs" / "sum" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    gestures.trained(recipe, out / "runs")
    assert (out / "runs" / "sum" / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before


def test_the_plan_covers_the_tables_and_figures_of_the_paper(tmp_path):
    todo = gestures.plan(tmp_path)
    assert [r.name for r in todo.networks.values()] == [
        "concat",
        "none",
        "sum",
        "baseline",
    ]
    assert list(todo.heads) == [f"{n}-layer {k}" for k in ("LSTM", "GRU") for n in (1, 2, 3)]
    for n, recipe in todo.lengths.items():
        assert (recipe.shortest, recipe.longest, recipe.slower) == (n, n, ())
        recipe.check()
    assert {"head=gru", "layers=3", "hidden=128", "dropout=0.3"} <= set(
        todo.heads["3-layer GRU"].options
    )


def test_the_label_of_a_test_video_is_that_of_its_sample():
    videos = Videos(MovingDigits(30, 5, split="val", frames=4))
    labels = [int(label) for _, label in videos.digits]
    assert videos.label_N.tolist() == labels


def test_the_rival_answers_with_every_window_and_ours_after_it_has_settled():
    small = dict(widths=(4, 4, 4, 4), num_classes=len(MOTIONS))
    x = torch.randn(2, 3, 20, 32, 32)
    rival = create_model("hara_resnet_18", **small).eval()
    said = Network(rival, get_recipe("digits_baseline")).answers(x)
    assert said.shape == (2, 5, len(MOTIONS))
    torch.testing.assert_close(said[:, 4], rival(x[:, :, 4:]).softmax(-1), atol=1e-5, rtol=1e-4)
    ours = create_model("d_resnet_18", **small).eval()
    said = Network(ours, get_recipe("digits")).answers(x)
    assert said.shape == (2, 2, len(MOTIONS))
    torch.testing.assert_close(said[:, 1], ours(x).softmax(-1), atol=1e-5, rtol=1e-4)


def test_a_window_is_judged_by_its_mean_and_a_recurrence_by_its_end():
    scores = torch.zeros(1, 20, 2)
    scores[0, :18, 0] = 9
    scores[0, 18, 0], scores[0, 19, 1] = 1, 0.5
    small = dict(widths=(4, 4, 4, 4), num_classes=2)
    fc, lstm = (create_model("d_resnet_18", head=h, **small).head for h in ("fc", "lstm"))
    assert int(verdict(fc, scores)) == 0
    assert int(verdict(lstm, scores)) == 1


def test_erasing_nothing_changes_nothing_and_all_leaves_chance():
    torch.manual_seed(0)
    head = create_model("d_resnet_18", widths=(4, 4, 4, 4), num_classes=4).head
    x = torch.randn(200, 20, 4)
    label = verdict(head, torch.softmax(head(x.transpose(1, 2)), -1)[:, None].expand(-1, 20, -1))
    scored = heads_by_frame({"fc": head}, x, label, (0.0, 1.0))
    whole, erased = scored["erasure"]["fc"]
    assert whole == scored["heads"][0]["top-1"] > 0.5 > erased
