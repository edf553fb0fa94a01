"""The recipes of the papers, on small made copies of their data sets."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import lean3d
from lean3d.data.feature_clips import FeatureClips, Variation, read_features
from lean3d.errors import RunError
from lean3d.recipes import get_recipe
from lean3d.recipes.datasets import datasets
from lean3d.recipes.resolve import resolve
from lean3d.recipes.runs import run
from lean3d.recipes.turns import ClassificationByTurns
from lean3d.tasks.classification import Classification

CLASSES = "boxing", "handclapping", "handwaving", "jogging", "running", "walking"


@pytest.fixture(scope="module")
def kth(tmp_path_factory):
    """Every action of a person to train on and of one to validate on, as folders of images."""
    root = tmp_path_factory.mktemp("kth")
    for name in CLASSES:
        for person in (11, 19):
            folder = root / name / f"person{person}_{name}_d1_uncomp"
            folder.mkdir(parents=True)
            for t in range(3):
                Image.new("L", (80, 60), 40 * t + person).save(folder / f"{t}.png")
    return root


@pytest.mark.parametrize("name", ["kth_regular", "kth_rank1", "kth_stdcf"])
def test_kth_trains_as_in_the_paper(kth, tmp_path, name):
    recipe = replace(
        get_recipe(name), data=f"kth:{kth}", train_samples=2, val_samples=2, batch_size=2, epochs=1
    )
    found = resolve(recipe)
    assert found.class_names == CLASSES
    clip, _ = datasets(found)[0][0]
    assert clip.shape == (1, 16, 60, 80)
    assert (recipe.lr, recipe.steps, get_recipe(name).epochs) == (1e-3, (20,), 40)
    recipe = replace(recipe, schedule="constant", steps=())
    results = run(recipe, tmp_path / "run", accelerator="cpu", progress=False)
    assert "val_top1_handwaving" in results["epochs"][0]


def test_csn_warms_up_over_ten_epochs_of_a_million_clips_of_eight():
    recipe = get_recipe("csn_kinetics")
    assert (recipe.warmup_epochs, recipe.lr, recipe.lr_batch) == (10, 0.01, recipe.batch_size)
    assert (recipe.clip, recipe.step, recipe.short_side) == (32, 2, (256, 320))


@pytest.fixture(scope="module")
def ssv1(tmp_path_factory):
    """Two classes of four videos, as Something-Something v1 has its frames and lists."""
    root = tmp_path_factory.mktemp("ssv1")
    names = "Swiping Left", "Opening [something]"
    lists = {"train": range(4), "validation": range(4, 6)}
    (root / "something-something-v1-labels.csv").write_text("\n".join(names) + "\n")
    for part, numbers in lists.items():
        lines = [f"{n};{names[n % 2]}\n" for n in numbers]
        (root / f"something-something-v1-{part}.csv").write_text("".join(lines))
        for n in numbers:
            (root / "frames" / str(n)).mkdir(parents=True)
            for t in range(1, 6):
                image = Image.new("RGB", (44, 36), (40 * t, 90 * (n % 2), 60))
                image.save(root / "frames" / str(n) / f"{t:05}.jpg")
    return root


TINY = dict(train_samples=2, val_samples=2, batch_size=1, size=32, short_side=(32, 36), clip=4)
QUIET = dict(accelerator="cpu", progress=False)


def rates(monkeypatch):
    """The stage and the rate of every epoch."""
    found = []
    start = ClassificationByTurns.training_step

    def step(self, batch, index):
        if index == 0:
            rate = self.trainer.optimizers[0].param_groups[0]["lr"]
            found.append((self.stage.name, round(rate, 8)))
        return start(self, batch, index)

    monkeypatch.setattr(ClassificationByTurns, "training_step", step)
    return found


@pytest.mark.slow
def test_stdcf_trains_in_stages_of_their_own_length_and_rate(ssv1, tmp_path, monkeypatch):
    whole = get_recipe("stdcf_kinetics")
    assert whole.stage_epochs == (256, 50, 50, 50, 50, 50)
    assert whole.epochs == 506
    assert whole.stage_lr == (0.03, *[0.0005] * 5)
    assert (whole.clip, whole.step, whole.short_side) == (8, 8, (256, 320))
    seen = rates(monkeypatch)
    small = dict(widths=(2, 2, 2, 2), data=f"ssv1:{ssv1}", **TINY)
    recipe = replace(whole, **small, stage_epochs=(2, 1, 1), stage_lr=(0.03, 5e-4, 5e-4), epochs=4)
    run(replace(recipe, epochs=3), tmp_path / "kinetics", **QUIET)
    run(recipe, tmp_path / "kinetics", resume=True, **QUIET)
    # half a cosine in each stage
    assert seen == [("time", 0.03), ("time", 0.015), ("space", 5e-4), ("time", 5e-4)]
    # and on to Something-Something, by turns and on whole clips
    seen.clear()
    more = dict(start_from=str(tmp_path / "kinetics"), **small)
    turns = get_recipe("stdcf_ssv1_turns")
    assert (turns.lr, turns.steps, turns.stage_epochs, turns.epochs) == (2e-4, (15,), (20,) * 4, 80)
    turns = replace(turns, **more, steps=(1,), stage_epochs=(2, 1), epochs=3)
    run(turns, tmp_path / "turns", **QUIET)
    assert seen == [("time", 2e-4), ("time", 2e-5), ("space", 2e-4)]
    tuned = get_recipe("stdcf_ssv1")
    assert (tuned.lr, tuned.steps, tuned.epochs, tuned.batch_size) == (1e-3, (30,), 50, 64)
    results = run(replace(tuned, **more, steps=(1,), epochs=2), tmp_path / "tuned", **QUIET)
    assert "val_top1_Swiping Left" in results["epochs"][1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(epochs=507), "epochs are more than the 506 of its stages"),
        (dict(turn=3), "stage_epochs are 1 or more each, without turn"),
        (dict(stage_lr=(0.03,)), "stage_lr has 6 rates above 0"),
        (dict(schedule="plateau"), "has no rates of single stages"),
        (dict(lr=0.1), "lr is the rate of the first stage, 0.03"),
    ],
)
def test_stages_that_do_not_fit_are_refused(changes, said):
    with pytest.raises(RunError, match=said):
        replace(get_recipe("stdcf_kinetics"), **changes).check()


def test_csn_is_tuned_from_published_weights_as_by_its_authors(ssv1, tmp_path):
    recipe = get_recipe("csn_finetune")
    assert (recipe.lr, recipe.lr_batch, recipe.weight_decay) == (1e-4, 4, 5e-3)
    assert (recipe.steps, recipe.epochs, recipe.train_samples) == ((2, 4, 6), 8, 100_000)
    size = dict(model="ir_csn_26", widths=(8, 8, 8, 8))
    weights = lean3d.create_model("ir_csn_26", num_classes=7, widths=(8, 8, 8, 8)).state_dict()
    torch.save(weights, tmp_path / "vmz.pt")
    small = dict(data=f"ssv1:{ssv1}", weights=str(tmp_path / "vmz.pt"), **size)
    results = run(
        replace(recipe, **small, **TINY | dict(clip=16), epochs=3), tmp_path / "run", **QUIET
    )
    assert len(results["epochs"]) == 3


def test_the_rate_of_csn_warms_up_by_epochs_and_falls_by_steps(ssv1, tmp_path, monkeypatch):
    found = []
    step = Classification.training_step

    def watched(self, batch, index):
        found.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return step(self, batch, index)

    monkeypatch.setattr(Classification, "training_step", watched)
    size = dict(model="ir_csn_26", widths=(8, 8, 8, 8), data=f"ssv1:{ssv1}")
    small = dict(
        **TINY | dict(train_samples=4, clip=16), warmup_epochs=1, epochs=3, channels_last=False
    )
    recipe = replace(get_recipe("csn_kinetics"), **size, **small)
    run(replace(recipe, epochs=3), tmp_path / "run", **QUIET)
    # one clip a step, where 0.01 is of eight
    peak = 0.01 / 8
    rising = [peak * (step + 1) / 5 for step in range(5)]
    falling = [peak * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(1, 8)]
    assert found == pytest.approx([*rising, *falling])


def test_a_head_learns_from_all_frames_of_videos_of_any_length(ssv1, tmp_path):
    first = replace(get_recipe("videos"), data=f"ssv1:{ssv1}", widths=(4,) * 4, epochs=1, warmup=0)
    first = replace(first, **TINY | dict(short_side=None, clip=17), options=("window=4",))
    # one video is shorter than the others
    (ssv1 / "frames" / "0" / "00005.jpg").unlink()
    run(first, tmp_path / "first", **QUIET)
    head = replace(get_recipe("videos_lstm"), data=f"ssv1:{ssv1}", widths=(4,) * 4, size=32)
    options = ("window=4", "head=lstm", "layers=1", "hidden=4")
    head = replace(head, options=options, start_from=str(tmp_path / "first"), epochs=1)
    run(replace(head, shortest=2, train_samples=4), tmp_path / "second", **QUIET)
    (kept,) = (tmp_path / "first" / "features").glob("4x*.npy")
    x_NTF, _ = read_features(kept)
    assert x_NTF.shape == (4, 5, 4)
    # zeros come first, where the paper pads
    assert [int((~x_TF.any(1)).sum()) for x_TF in x_NTF] == [1, 0, 0, 0]
    clip_FT, _ = FeatureClips(x_NTF, np.zeros(4), 4)[0]
    assert not clip_FT[:, 0].any()
    varied = FeatureClips(x_NTF, np.zeros(4), 4, vary=Variation(5, slower=(), erased=0))
    assert {int(varied[n][0].any(0).sum()) for n in (0, 4, 8)} == {4}
