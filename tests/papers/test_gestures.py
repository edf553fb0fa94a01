"""Claims 10 and 11: D3D on gestures of moving digits."""

import json

import pytest
import torch

from lean3d.data import MOTIONS
from lean3d.models import create_model
from papers.claims import CLAIMS
from papers.d3d import gestures
from papers.d3d.gesture_scores import Network, Videos, heads_by_frame, verdict
from papers.d3d.gesture_text import VARIANTS, differences
from papers.d3d.gesture_training import NETWORKS
from papers.d3d.gesture_training import VARIANTS as VARIED
from papers.gesture_videos import Gestures
from papers.results import Results

pytest.importorskip("sklearn")


@pytest.mark.slow
def test_every_network_and_head_has_its_scores(tmp_path, capsys):
    pieces = ["--tiny", "--pieces", str(tmp_path / "p"), "--runs", str(tmp_path / "r")]
    gestures.main([*pieces, "--seeds", "0"])
    for ending in ("wide", "slow", "one frame"):
        names = [f"{skip} {ending}" for skip in ("concat", "none", "sum")]
        gestures.main([*pieces, "--seeds", "0", "--networks", *names])
    gestures.main([*pieces, "--collect"])
    text = capsys.readouterr().out
    assert "| D-ResNet-18, concat |" in text
    assert "| 2-layer LSTM |" in text
    assert "erased 95%" in text
    assert "| one frame in the stem, not three |" in text
    found = json.loads((tmp_path / "p/tiny/gestures.json").read_text())["entries"]
    rows = {entry["name"]: entry for entry in found}
    assert list(rows) == [*gestures.NAMES, *VARIED]
    assert rows["none"]["params"] < rows["concat"]["params"] < rows["concat wide"]["params"]
    costs = [rows[name]["MACs per answer"] for name in ("none", "concat", "3D-ResNet-18")]
    assert costs == sorted(costs)
    heads = rows["heads"]
    assert [row["head"] for row in heads["heads"]] == ["fc", *gestures.HEADS]
    for row in heads["heads"]:
        assert len(heads["segments"][row["head"]]) == 10
        assert heads["erasure"][row["head"]][0] == row["top-1"]
    names = {path.name for path in (tmp_path / "p/tiny").glob("*.svg")}
    kinds = ("causality", "cost", "lengths", "skips")
    assert names == {f"gestures_{kind}.svg" for kind in kinds}


def test_the_variants_change_one_thing_each():
    assert set(NETWORKS) == {s + end for s in ("concat", "none", "sum") for end in VARIANTS} | {
        "3D-ResNet-18"
    }
    plain = NETWORKS["concat"]
    for ending in VARIANTS:
        other = vars(NETWORKS["concat" + ending])
        assert sum(value != other[key] for key, value in vars(plain).items()) == bool(ending)


def made(folder, tops):
    (folder / "d3d").mkdir()
    results = Results(folder / "d3d" / "gestures.json", {})
    for seed, values in enumerate(tops):
        for name, top in zip(("concat", "none", "sum", "3D-ResNet-18"), values, strict=True):
            entry = {"top-1": top, "MACs per answer": 20 if name[0] == "3" else 1}
            results.get(name, seed, lambda entry=entry: entry)
    for seed in range(3):
        head = {
            "segments": {"fc": [0.8, 0.7], "2-layer LSTM": [0.5, 0.9]},
            "erased": [0.0, 0.5],
            "erasure": {"fc": [0.8, 0.3], "2-layer LSTM": [0.9, 0.6]},
            "lengths": {"4": 0.5, "32": 0.9},
        }
        results.get("heads", seed, lambda head=head: head)
    return results


def test_the_papers_own_numbers_hold(tmp_path):
    made(tmp_path, [(0.6141, 0.5874, 0.5840, 0.5765)] * 3)
    assert [CLAIMS[n].find(tmp_path).verdict for n in (9, 10)] == ["holds", "holds"]


def test_one_seed_against_the_order_makes_it_hold_partly(tmp_path):
    results = made(tmp_path, [(0.61, 0.58, 0.58, 0.57)] * 2 + [(0.60, 0.61, 0.62, 0.57)])
    assert CLAIMS[9].find(tmp_path).verdict == "partly"
    assert differences(results, "concat", "none") == pytest.approx([0.03, 0.03, -0.01])


def test_the_label_of_a_test_video_is_that_of_its_sample():
    videos = Videos(Gestures(5, "val", "cpu", frames=4, size=16), 30)
    labels = torch.cat([videos.gestures.draw(i)[1] for i in torch.arange(30).split(7)])
    assert torch.equal(videos.label_N, labels)


def test_the_rival_answers_with_every_window_and_ours_after_it_has_settled():
    small = dict(widths=(4, 4, 4, 4), num_classes=len(MOTIONS))
    x = torch.randn(2, 3, 20, 32, 32)
    rival = create_model("hara_resnet_18", **small).eval()
    said = Network(rival, False, 32).answers(x)
    assert said.shape == (2, 5, len(MOTIONS))
    torch.testing.assert_close(said[:, 4], rival(x[:, :, 4:]).softmax(-1), atol=1e-5, rtol=1e-4)
    ours = create_model("d_resnet_18", **small).eval()
    said = Network(ours, True, 32).answers(x)
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
