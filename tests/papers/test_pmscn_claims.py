"""The measured claims of PmSCn, by networks that have hardly begun to learn."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lean3d.data.brain import TISSUES
from papers.pmscn import brain, neurites, overfitting, units
from papers.pmscn.overfitting_text import level, lowest, rise
from papers.pmscn.units_text import differences
from papers.results import Results

HOME = Path(neurites.__file__).parent
SIZES = {"overfitting": 15_886_199, "brain": 1_302_904, "neurites": 322_003}


def by_command(module, stem, out, capsys):
    """The entries and the section of a command's smallest scale."""
    pieces = ["--tiny", "--pieces", str(out / "p"), "--runs", str(out / "r")]
    module.main([*pieces, "--seeds", "0"])
    module.main([*pieces, "--collect"])
    assert (out / "p/tiny" / f"{stem}.png").stat().st_size > 10_000
    found = json.loads((out / "p/tiny" / f"{stem}.json").read_text())
    return found["entries"], capsys.readouterr().out


@pytest.mark.slow
def test_every_network_of_figure_4_has_its_curves(tmp_path, capsys):
    entries, text = by_command(overfitting, "overfitting", tmp_path, capsys)
    assert [entry["name"] for entry in entries] == list(overfitting.NETWORKS)
    for entry in entries:
        assert len(entry["error"]) == len(entry["train_loss"]) == overfitting.TINY.epochs
        assert all(0 <= error <= 1 for error in entry["error"])
    sizes = {entry["name"]: entry["params"] for entry in entries}
    assert sizes["P2SC2"] < sizes["3D"]
    assert f"| 3D | {sizes['3D']:,} |" in text


@pytest.mark.parametrize(
    ("kind", "work"),
    [
        ("overfitting", overfitting.work(overfitting.Scale())),
        ("brain", brain.work(brain.Scale())),
        ("neurites", neurites.work(neurites.Scale())),
    ],
)
def test_what_a_gpu_has_trained_is_not_trained_again(kind, work):
    path = HOME / f"{kind}.json"
    found = Results(path, work.settings)
    assert (work.stem, found.values("3D", "params")) == (kind, [SIZES[kind]] * 3)
    assert {(e["name"], e["seed"]) for e in found.entries} == set(product(work.names, range(3)))
    assert work.section(found) in (HOME / "README.md").read_text()


def test_the_rise_is_from_the_lowest_epoch_to_the_last_ones():
    falling, turning = [5, 4, 3, 2, 1, 1, 1, 1, 1], [5, 1, 2, 2, 2, 2, 2]
    assert level(turning) == 2
    # against the mean of the lowest five, not the lowest one
    assert rise(turning) == pytest.approx(2 / 1.8 - 1)
    assert lowest(turning) == 6
    assert rise(falling) == 0
    assert lowest(falling) == 9


@pytest.mark.slow
def test_every_network_of_figure_5_is_scored_on_the_front_of_the_brain(tmp_path, capsys):
    pytest.importorskip("nilearn")
    entries, text = by_command(brain, "brain", tmp_path, capsys)
    assert [entry["name"] for entry in entries] == list(brain.NETWORKS)
    for entry in entries:
        assert set(entry["by class"]) == set(TISSUES[1:])
        assert all(0 <= dice <= 1 for dice in entry["by class"].values())
    assert "| P2SC3, fewer |" in text


def test_the_small_units_with_fewer_filters_have_the_papers_share_too():
    sizes = {}
    with torch.device("meta"):
        for name in ("3D", "P2SC2, fewer", "P2SC3, fewer"):
            model = units.build(units.TRIALS[name], units.Scale(), 0)
            sizes[name] = sum(p.numel() for p in model.parameters())
    assert sizes["P2SC2, fewer"] / sizes["3D"] == pytest.approx(2.5 / 5.2, abs=0.03)
    assert sizes["P2SC3, fewer"] / sizes["3D"] == pytest.approx(1.4 / 5.2, abs=0.06)


def test_a_network_is_compared_with_3d_of_its_rate_and_seed(tmp_path):
    results = Results(tmp_path / "units.json", {})
    for name, dice in {"3D": 0.7, "3D, rate 0.003": 0.8, "P2SC3": 0.6}.items():
        results.get(name, 0, lambda dice=dice: {"dice": dice})
    for seed in (0, 1):
        results.get("P2SC3, norm, rate 0.003", seed, lambda: {"dice": 0.75})
    assert differences(results, "P2SC3") == pytest.approx([-0.1])
    assert differences(results, "P2SC3, norm, rate 0.003") == pytest.approx([-0.05])


@pytest.mark.slow
def test_the_small_networks_of_figure_5_are_trained_at_two_rates(tmp_path, capsys):
    pytest.importorskip("nilearn")
    entries, text = by_command(units, "units", tmp_path, capsys)
    assert [entry["name"] for entry in entries] == list(units.NAMES)
    assert all(len(entry["train_loss"]) == units.TINY.epochs for entry in entries)
    assert "| P2SC3, fewer, rate 0.003 |" in text


def test_a_trial_changes_what_it_says_and_nothing_else():
    scale = replace(units.Scale(), depths=(1, 1))
    changes = ("rate 0.003", "warm-up", "variance kept", "as nn.Conv3d", "bias", "norm")
    names = ["P2SC3", *(f"P2SC3, {change}" for change in changes)]
    built = {name: units.build(units.TRIALS[name], scale, 0) for name in names}
    ours = built["P2SC3"].state_dict()

    def other(name):
        theirs = built[f"P2SC3, {name}"].state_dict()
        return {k for k in ours.keys() | theirs.keys() if not equal(ours.get(k), theirs.get(k))}

    def equal(one, two):
        return one is not None and two is not None and torch.equal(one, two)

    assert not other("rate 0.003") | other("warm-up")
    for name in ("variance kept", "as nn.Conv3d"):
        assert {k for k in ours if "streams" in k} == other(name)
    assert all(".streams." in k and k.endswith("bias") for k in other("bias"))
    norms = [m for m in built["P2SC3, norm"].modules() if isinstance(m, nn.BatchNorm3d)]
    plain = [m for m in built["P2SC3"].modules() if isinstance(m, nn.BatchNorm3d)]
    # two streams of three in each of the stem's and the layers' units
    assert len(norms) - len(plain) == 6 * (1 + sum(scale.depths))


def test_the_section_on_units_is_that_of_the_results():
    work = units.work(units.Scale())
    found = Results(HOME / "units.json", work.settings)
    assert work.section(found) in (HOME / "README.md").read_text()
    for name in ("3D, rate 0.003", "P2SC3, rate 0.003"):
        assert len(found.values(name, "dice")) == 3


def test_the_units_with_fewer_filters_have_the_papers_share_of_parameters():
    scale = brain.Scale()
    with torch.device("meta"):
        sizes = {
            name: sum(p.numel() for p in brain.build(unit, scale, 0).parameters())
            for name, unit in brain.NETWORKS.items()
        }
    assert sizes["P2SC2, fewer"] / sizes["3D"] == pytest.approx(2.5 / 5.2, abs=0.03)
    assert sizes["P2SC3, fewer"] / sizes["3D"] == pytest.approx(1.4 / 5.2, abs=0.03)
    assert sizes["P2SC2"] > sizes["3D"]


def test_a_brain_that_was_saved_is_the_one_of_the_package(tmp_path):
    pytest.importorskip("nilearn")
    brain._save(tmp_path / "brain.npz", 4)
    mine = brain.tissues(str(tmp_path / "brain.npz"), 4)
    theirs = brain.tissues("mni152", 4)
    for (one,), (other,) in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.image, other.image)
        assert torch.equal(one.label, other.label)
        np.testing.assert_allclose(one.affine, other.affine)
    tiny = replace(brain.TINY, data=str(tmp_path / "brain.npz"))
    assert brain.work(tiny).settings == brain.work(brain.TINY).settings


def test_the_papers_own_data_are_split_as_the_paper_says(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    random = np.random.default_rng(0)
    for number in range(1, 19):
        for ending, values in (("ana", random.random((8, 9, 10))), ("segTRI_ana", None)):
            values = random.integers(0, 4, (8, 9, 10)) if values is None else values
            image = nibabel.Nifti1Image(values.astype(np.float32), np.diag([1.5, 1.5, 1.5, 1]))
            nibabel.save(image, tmp_path / f"IBSR_{number:02}_{ending}.nii.gz")
    train, tests = brain.tissues(f"ibsr:{tmp_path}", 1)
    assert [v.name.split(".")[0][:7] for v in train] == [f"IBSR_{n:02}" for n in range(1, 12)]
    assert [v.name.split(".")[0][:7] for v in tests] == [f"IBSR_{n:02}" for n in range(12, 17)]
    assert all(v.label.max() == 3 for v in (*train, *tests))
    work = brain.work(replace(brain.TINY, data=f"ibsr:{tmp_path}"))
    assert (work.stem, work.settings["data"]) == ("brain_ibsr", "ibsr")


@pytest.mark.slow
def test_neurites_are_trained_here_and_scored_there(tmp_path, capsys):
    pytest.importorskip("waterz")
    runs = ["--tiny", "--runs", str(tmp_path / "r"), "--seeds", "0"]
    neurites.main([*runs, "--train", "--networks", "P2SC2"])
    folder = tmp_path / "r" / "neurites" / "P2SC2_0"
    assert not (folder / "checkpoints" / "last.ckpt").exists()
    before = (folder / "metrics.json").read_text()
    pieces = [*runs, "--pieces", str(tmp_path / "p")]
    neurites.main([*pieces, "--networks", "3D", "P2SC2"])
    assert (folder / "metrics.json").read_text() == before
    neurites.main([*pieces, "--collect"])
    text = capsys.readouterr().out
    entries = json.loads((tmp_path / "p/tiny/neurites.json").read_text())["entries"]
    assert [entry["name"] for entry in entries] == ["3D", "P2SC2"]
    for entry in entries:
        assert entry["vi"] == pytest.approx(entry["vi_merge"] + entry["vi_split"], abs=1e-3)
        assert entry["step_seconds"] > 0
    assert "| P2SC2 |" in text
    trained, scored = text.partition("Trained: ")[2].split(" Scored: ")
    assert "TF32" not in trained
    assert entries[0]["where"]["hardware"] in scored
    assert (tmp_path / "p/tiny/neurites.png").stat().st_size > 10_000


def test_the_machine_of_the_training_is_told_beside_that_of_the_scores():
    found = Results(HOME / "neurites.json", neurites.work(neurites.Scale()).settings)
    assert [len(found.values(name, "vi")) for name in neurites.UNITS] == [3] * len(neurites.UNITS)
    trained, scored = neurites.work(neurites.Scale()).section(found).split("Scored: ")
    assert "NVIDIA H100" in trained
    assert "TF32" in trained
    assert "NVIDIA" not in scored


@pytest.mark.parametrize("name", neurites.UNITS)
def test_every_network_of_figure_6_is_built_from_its_recipe(name):
    recipe = neurites.recipe(neurites.Scale(), name, 3)
    recipe.check()
    assert recipe.seed == 3
    assert recipe.widths == neurites.Scale().widths
