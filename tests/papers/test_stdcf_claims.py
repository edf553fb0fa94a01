"""Claims 5 to 7: STDCF on digits that move."""

import json
from dataclasses import replace
from itertools import product

import pytest
import torch
from PIL import Image

from lean3d.data.video_sets.kth import CLASSES
from lean3d.train.two_stage import whole
from papers.claims import CLAIMS
from papers.digit_videos import paint_grey
from papers.results import Results
from papers.stdcf import actions, reconstruct
from papers.stdcf.action_text import drops
from papers.stdcf.action_training import KTH, PLAIN, TINY, Clips, accuracy, by_turns, renewed, score
from papers.stdcf.reconstruct import Shuffle, network, psnr

pytest.importorskip("sklearn")


def made(path, entries):
    """A results file of three seeds from the numbers of one."""
    results = Results(path, {"epochs": 1})
    for seed in range(3):
        for name, entry in entries.items():
            results.get(name, seed, lambda entry=entry: dict(entry))
    return results


def verdicts(folder, *numbers):
    return [CLAIMS[number - 1].find(folder).verdict for number in numbers]


def papers_own():
    """Tables 1 and 2."""
    top = {"regular": (0.8126, 0.7694), "rank1": (0.8255, 0.7910), "stdcf": (0.8561, 0.8493)}
    entries = {
        f"{form} {way}": {"top-1": value}
        for form, values in top.items()
        for way, value in zip(("whole", "turns"), values, strict=True)
    }
    entries["stdcf whole"]["half the frames"] = 0.6649
    entries["small"] = {"as it is": 0.5308, "dilated": 0.7534}
    entries["spread"] = {"dilated": 0.7711}
    peaks = {"whole": 459.4, "time": 120.0, "space": 228.9}
    entries["memory"] = {f"stdcf {stage}": {"counted": mb} for stage, mb in peaks.items()}
    return entries


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "stdcf").mkdir()
    return tmp_path


def test_the_papers_own_numbers_hold(folder):
    made(folder / "stdcf" / "actions.json", papers_own())
    psnr = {
        f"{form} {end}": {"psnr": value}
        for end in ("enlarged", "shuffled")
        for form, value in (("rank1", 21.50), ("stdcf", 24.60))
    }
    made(folder / "stdcf" / "reconstruct.json", psnr)
    assert verdicts(folder, 5, 6, 7) == ["holds"] * 3


def test_atoms_that_lose_as_much_as_the_others_do_not_hold(folder):
    entries = papers_own()
    entries["stdcf turns"] = {"top-1": 0.75}
    entries["small"] = {"as it is": 0.8, "dilated": 0.7}
    made(folder / "stdcf" / "actions.json", entries)
    assert verdicts(folder, 6, 7) == ["partly", "partly"]
    parts = CLAIMS[6].find(folder).parts
    assert parts == {
        "atoms by turns >= whole - 2 (-10.6)": False,
        "regular 3D loses more than atoms (-6.3)": False,
        "rank-1 loses more than atoms (-7.2)": False,
        "memory 0.50x": True,
    }


def test_nothing_is_said_of_what_was_not_run(folder):
    made(folder / "stdcf" / "actions.json", {"regular whole": {"top-1": 0.8}})
    assert [CLAIMS[n].find(folder) for n in (4, 5, 6)] == [None] * 3


def test_differences_are_taken_within_a_seed(tmp_path):
    results = made(tmp_path / "a.json", papers_own())
    assert drops(results, "rank1") == pytest.approx([-0.0345] * 3)


def test_the_voxels_of_a_channel_come_to_their_places():
    x = torch.arange(8.0).view(1, 8, 1, 1, 1)
    assert Shuffle()(x).flatten().tolist() == list(range(8))
    assert Shuffle()(torch.zeros(2, 8, 3, 4, 5)).shape == (2, 1, 6, 8, 10)


@pytest.mark.parametrize("name", reconstruct.NAMES)
def test_every_network_gives_a_clip_back(name):
    x = torch.rand(2, 1, 8, 16, 16)
    assert network(*name.split(), 4)(x).shape == x.shape


def test_psnr_is_that_of_the_mean_squared_error():
    x = torch.zeros(2, 1, 4, 4, 4)
    assert psnr(x + 0.1, x).tolist() == pytest.approx([20, 20])
    assert psnr(x - 0.1, x).tolist() == [float("inf")] * 2


@pytest.mark.slow
def test_every_network_of_the_actions_has_its_scores(tmp_path, capsys):
    pieces = ["--tiny", "--pieces", str(tmp_path / "p"), "--runs", str(tmp_path / "r")]
    actions.main([*pieces, "--seeds", "0"])
    actions.main([*pieces, "--collect"])
    text = capsys.readouterr().out
    assert "| space | 16x15x20 | 16x30x40 | 53.1 |" in text
    found = json.loads((tmp_path / "p/tiny/actions.json").read_text())["entries"]
    assert [entry["name"] for entry in found] == list(actions.NAMES)
    turns = {e["name"]: e for e in found if e["name"].endswith("turns")}
    assert all(len(entry["stages"]) == 2 * TINY.iterations for entry in turns.values())
    assert all(entry["stages"][-1] == entry["top-1"] for entry in turns.values())
    memory = found[-1]
    assert memory["stdcf space"]["counted"] < 0.6 * memory["stdcf whole"]["counted"]
    assert (tmp_path / "p/tiny/actions.png").stat().st_size > 10_000


@pytest.mark.slow
def test_every_reconstruction_has_its_scores(tmp_path, capsys):
    pieces = ["--tiny", "--pieces", str(tmp_path / "p"), "--runs", str(tmp_path / "r")]
    reconstruct.main([*pieces, "--seeds", "0"])
    reconstruct.main([*pieces, "--collect"])
    assert "| STDCF | one channel |" in capsys.readouterr().out
    found = json.loads((tmp_path / "p/tiny/reconstruct.json").read_text())["entries"]
    assert all(entry["curve"][-1] == entry["psnr"] > 5 for entry in found)
    assert (tmp_path / "p/tiny/reconstruct.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_network_by_turns_is_scored_on_whole_clips_with_all_kernels_dilated(tmp_path):
    clips = Clips(TINY, 0, "cpu")
    found = by_turns("rank1", clips, tmp_path)
    assert found["top-1"] == found["stages"][-1]
    assert len(found["train_loss"]) == 2 * TINY.iterations * TINY.epochs


def test_a_stage_changes_what_a_network_sees():
    clips = Clips(TINY, 0, "cpu")
    seen = []
    from papers.stdcf.action_training import _model

    model = _model("stdcf", clips)
    model.register_forward_pre_hook(lambda _, x: seen.append(tuple(x[0].shape[2:])))
    accuracy(model, whole(), clips.val)
    assert {layer[0].spread for layer in model.features} == {(2, 2, 2)}
    accuracy(model, PLAIN, clips.val)
    assert {layer[0].spread for layer in model.features} == {(1, 1, 1)}
    assert set(seen) == {(16, 30, 40)}


def test_noise_in_blocks_is_as_large_in_a_frame_of_half_the_size():
    ink = torch.zeros(4, 8, 30, 40)
    plain, blocks = (
        paint_grey(ink, 0.1, torch.Generator().manual_seed(0), block) for block in (1, 2)
    )
    half = [torch.nn.functional.avg_pool3d(x, (1, 2, 2)) for x in (plain, blocks)]
    change = [(x[:, :, 1:] - x[:, :, :-1]).std() for x in (plain, blocks, *half)]
    assert change[2] / change[0] == pytest.approx(0.5, abs=0.02)
    assert change[3] / change[1] == pytest.approx(1.0, abs=0.02)


def test_a_test_with_statistics_of_its_own_leaves_those_of_training():
    clips = Clips(replace(TINY, renew=12), 0, "cpu")
    from papers.stdcf.action_training import _model

    model = _model("stdcf", clips)
    norm = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm3d))
    before = norm.running_var.clone()
    with renewed(model, whole(), clips):
        assert not torch.equal(norm.running_var, before)
        assert norm.num_batches_tracked == 1
    assert torch.equal(norm.running_var, before)
    assert norm.momentum is not None
    assert 0 <= score(model, whole(), clips) <= 1
    assert torch.equal(norm.running_var, before)


def test_clips_of_kth_are_those_of_other_persons_in_the_size_of_the_scale(tmp_path):
    for name, person in product(CLASSES, (11, 19)):
        folder = tmp_path / name / f"person{person}_{name}_d1_uncomp"
        folder.mkdir(parents=True)
        for t in range(3):
            Image.new("L", (80, 60), 40 * t + person).save(folder / f"{t}.png")
    clips = Clips(replace(TINY, data=f"kth:{tmp_path}"), 0, "cpu")
    (x, label), (others, kinds) = clips.train, clips.val
    assert x.shape == (TINY.clips, 1, 16, 30, 40)
    assert others.shape == (6, 1, 16, 30, 40)
    assert sorted(kinds.tolist()) == sorted(set(label.tolist())) == list(range(6))


def test_kth_has_a_section_and_a_scale_of_its_own(capsys):
    scale = replace(KTH, data="kth:videos")
    assert actions.work(scale).stem == "actions_kth"
    assert "<!-- actions_kth: begin -->" in (actions.HERE / "README.md").read_text()
    with pytest.raises(SystemExit):
        actions.main(["--small", "--data", "kth:videos"])
    assert "--small draws digits" in capsys.readouterr().err
