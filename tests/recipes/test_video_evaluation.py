"""Each protocol's clips and crops, listed frame by frame, and the scores that follow from them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from lean3d.errors import LeanError, RunError
from lean3d.recipes import ClassificationRecipe
from lean3d.recipes.evaluation import Settings, evaluate
from lean3d.recipes.evaluation.tasks.classification import average_precision
from lean3d.recipes.runs import load_run, run

FRAMES, HIGH, WIDE = 14, 24, 40


def pictures(folder, seed):
    """A video of coloured noise; returns its pixels (T, H, W, 3)."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (FRAMES, HIGH, WIDE, 3), dtype=np.uint8)
    for t, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{t:02}.png")
    return torch.from_numpy(pixels)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run, and the pixels of the videos of its test part by their names."""
    root = tmp_path_factory.mktemp("evaluated")
    seen = {}
    for part in ("train", "val", "test"):
        for place, label in enumerate(("bow", "nod", "wave")):
            for number in range(2):
                folder = root / "data" / part / label / str(number)
                pixels = pictures(folder, hash((part, place, number)) % 1000)
                if part == "test":
                    seen[f"test__{label}__{number}"] = (place, pixels)
    recipe = ClassificationRecipe(
        name="tiny",
        data=str(root / "data"),
        num_classes=0,
        model="resnet3d_18",
        widths=(2, 2, 2, 2),
        clip=5,
        step=2,
        size=16,
        train_samples=2,
        val_samples=2,
        batch_size=2,
        epochs=1,
    )
    run(recipe, root / "run", accelerator="cpu", progress=False)
    return root / "run", seen


def looked(pixels_THWC, numbers, left, top, side):
    """A clip: frames by number, a square of them, at 16 x 16, normalised."""
    x_TCHW = pixels_THWC[list(numbers)][:, top : top + side, left : left + side]
    x_TCHW = x_TCHW.permute(0, 3, 1, 2).float() / 255
    x_TCHW = F.interpolate(x_TCHW, (16, 16), mode="bilinear", antialias=True)
    return ((x_TCHW - 0.45) / 0.225).transpose(0, 1)


# the squares of 24 at the left, in the middle and at the right of 40; 5 frames by 2 span 9 of 14
MIDDLE, LEFT, RIGHT = 8, 0, 16
PROTOCOLS = {
    "three clips": (
        dict(clips=3),
        [((0, 2, 4, 6, 8), MIDDLE), ((2, 4, 6, 8, 10), MIDDLE), ((5, 7, 9, 11, 13), MIDDLE)],
    ),
    "one clip": (dict(clips=1), [((2, 4, 6, 8, 10), MIDDLE)]),
    "two clips by three crops": (
        dict(clips=2, crops=3),
        [
            (numbers, left)
            for numbers in ((0, 2, 4, 6, 8), (5, 7, 9, 11, 13))
            for left in (LEFT, MIDDLE, RIGHT)
        ],
    ),
    "every window": (
        dict(stride=1),
        [(tuple(range(first, first + 9, 2)), MIDDLE) for first in range(6)],
    ),
    "every second window": (
        dict(stride=2),
        [(tuple(range(first, first + 9, 2)), MIDDLE) for first in (0, 2, 4)],
    ),
    "whole": (dict(whole=True), [(tuple(range(14)), MIDDLE)]),
}


def expected_scores(model, pixels, clips, average):
    logits = torch.cat([model(looked(pixels, n, left, 0, 24)[None]) for n, left in clips])
    return logits, (logits.softmax(1) if average == "softmax" else logits).mean(0)


PROTOCOLS["logits of three clips"] = (dict(clips=3, average="logits"), PROTOCOLS["three clips"][1])


QUICK = "three clips", "whole", "logits of three clips"
CASES = [
    pytest.param(*case, id=name, marks=[] if name in QUICK else pytest.mark.slow)
    for name, case in PROTOCOLS.items()
]


@pytest.mark.parametrize(("settings", "clips"), CASES)
@torch.no_grad()
def test_scores_are_those_of_the_protocols_clips_one_by_one(trained, tmp_path, settings, clips):
    folder, videos = trained
    settings = Settings(**settings, device="cpu", batch_size=4)
    result = evaluate(folder, settings=settings, out=tmp_path / "out")
    model = load_run(folder)[0].eval()
    assert result.scored.keys() == videos.keys()
    right = []
    for name, (label, pixels) in videos.items():
        logits, mean = expected_scores(model, pixels, clips, settings.average)
        row, more = result.scored[name].rows[0], result.scored[name].more
        assert more["scores"] == pytest.approx(mean.tolist(), abs=2e-5)
        assert row["clips"] == len(clips)
        assert row["clip1"] == pytest.approx(float((logits.argmax(1) == label).float().mean()))
        assert row["video1"] == float(mean.argmax() == label)
        assert row["video5"] == 1.0
        right.append(float(mean.argmax() == label))
    rows = {row["class"]: row for row in result.summary}
    assert rows["all videos"]["video1"] == pytest.approx(np.mean(right))
    classes = [rows[name]["video1"] for name in ("bow", "nod", "wave")]
    assert rows["mean of classes"]["video1"] == pytest.approx(np.mean(classes))


def test_a_protocol_leaves_a_table_a_picture_and_a_page_and_goes_on_where_it_stopped(
    trained, tmp_path
):
    told = []
    settings = Settings(clips=2, device="cpu")
    first = evaluate(trained[0], settings=settings, out=tmp_path)
    again = evaluate(trained[0], settings=settings, out=tmp_path, tell=told.append)
    assert first.summary[-2]["video1"] == again.summary[-2]["video1"]
    assert sum("scored before" in line for line in told) == 6
    # right or wrong
    assert {line.split("video@1 ")[1][:5] for line in told if "video@1" in line} == {
        "0.000",
        "1.000",
    }
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert len(lines) == 7
    assert lines[0].split(",")[:3] == ["case", "class", "video1"]
    page = (tmp_path / "report.html").read_text()
    assert "Confusion" in page
    assert "taken for" in page


def test_other_data_of_the_same_classes_are_taken_whole(trained, tmp_path):
    for place, label in enumerate(("bow", "nod", "wave")):
        pictures(tmp_path / "new" / label / "0", place)
    result = evaluate(
        trained[0],
        data=str(tmp_path / "new"),
        settings=Settings(clips=1, device="cpu"),
        out=tmp_path / "out",
    )
    assert sorted(result.scored) == ["bow__0", "nod__0", "wave__0"]
    (tmp_path / "new" / "nod").rename(tmp_path / "new" / "sit")
    with pytest.raises(LeanError, match="by other names"):
        evaluate(trained[0], data=str(tmp_path / "new"), out=tmp_path / "out")


def test_a_size_asked_for_is_that_of_the_crops(trained, tmp_path):
    settings = Settings(clips=1, size=24, device="cpu")
    result = evaluate(trained[0], settings=settings, out=tmp_path)
    model = load_run(trained[0])[0].eval()
    name, (_, pixels) = next(iter(trained[1].items()))
    clip = pixels[[2, 4, 6, 8, 10]][:, :, 8:32].permute(3, 0, 1, 2).float() / 255
    with torch.no_grad():
        expected = model((clip[None] - 0.45) / 0.225).softmax(1)[0]
    assert result.scored[name].more["scores"] == pytest.approx(expected.tolist(), abs=2e-5)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(clips=0), "clips is 1 or more"),
        (dict(crops=2), "crops is 1 or 3"),
        (dict(stride=0), "stride is 1 or more"),
        (dict(whole=True, clips=5, crops=3), "whole takes a video at once; leave out clips, crops"),
        (dict(stride=1, clips=5), "stride takes every window; leave out clips"),
        (dict(average="max"), "average is softmax or logits"),
        (dict(overlap=0.25), "--overlap is not for this run"),
    ],
)
def test_protocols_that_cannot_be_are_refused(trained, tmp_path, bad, message):
    with pytest.raises(RunError, match=message):
        evaluate(trained[0], settings=replace(Settings(), **bad), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_average_precision_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    scores = torch.rand(40, 5, generator=torch.Generator().manual_seed(0)).softmax(1)
    labels = [[n % 4] if n % 7 else [n % 4, (n + 1) % 4] for n in range(40)]
    found = average_precision(scores, labels)
    for number in range(4):
        truth = [int(number in own) for own in labels]
        assert found[number] == pytest.approx(
            metrics.average_precision_score(truth, scores[:, number]), abs=1e-6
        )
    assert np.isnan(found[4])
    assert average_precision(scores.logit(), labels)[:4] == pytest.approx(found[:4], abs=1e-6)


def test_the_command_line_scores_a_run_of_videos(trained, tmp_path, capsys):
    from lean3d.cli.main import main

    asked = ["evaluate", str(trained[0]), "--clips", "2", "--crops", "3", "--device", "cpu"]
    assert main([*asked, "--out", str(tmp_path)]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    rows = {row["class"]: row for row in last["summary"]}
    assert {"video1", "video5", "clip1", "ap"} <= rows["mean of classes"].keys()
