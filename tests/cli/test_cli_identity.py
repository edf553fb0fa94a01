"""Train, evaluate, index and search persons and faces by the command line."""

import csv
import json

import pytest

from lean3d.cli.main import main
from tests.data.films import film
from tests.data.walkers import face, mars, people, walker, youtube_faces
from tests.recipes.made_persons import tiny, untrained

TINY = "--widths 4 8 16 32 --size 32 --batch-size 8 --per-person 4 --lr 0.003 --accelerator cpu"


def ran(capsys, line):
    """Run a command, and return its line of JSON."""
    assert main(line.split()) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def refused(capsys, line):
    assert main(line.split()) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("lean3d: ")
    assert len(said) <= 400
    return said


@pytest.mark.slow
def test_walkers_from_training_to_a_search(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mars(tmp_path / "mars", train=range(1, 11), test=(12, 13, 14, 15, 16, 17), frames=6)
    line = f"train mars --data mars:mars --out run {TINY} --model d_resnet_18 --embedding 32"
    line += " --width 16 --held-out 0.2 --epochs 15 --val-every 5 --steps 10 --train-samples 64"
    found = ran(capsys, line)
    assert found["val_map"] > 0.8
    found = ran(capsys, "evaluate run --data mars:mars")
    total = found["summary"][-1]
    # six persons, each by two other cameras, with a junk box and two distractors
    assert total["cases"] == 6
    assert total["ap"] > 0.8
    assert total["rank1"] > 0.8
    rows = list(csv.DictReader((tmp_path / "run/evaluation/scores.csv").read_text().splitlines()))
    assert [float(row["ap"]) for row in rows] == sorted(float(row["ap"]) for row in rows)
    found = ran(capsys, "index run mars:mars --out gallery")
    # without the junk box
    assert (found["videos"], found["persons"]) == (6 * 3 + 2, 7)
    (tmp_path / "query").mkdir()
    for t in range(8):
        walker(14, 2, t + 20).save(tmp_path / "query" / f"{t}.png")
    assert main(["search", "gallery", "query", "--num", "3", "--every", "4"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [row.split(":")[0] for row in out[:2]] == ["query frame 4", "query frame 8"]
    (result,) = json.loads(out[-1])["videos"]
    assert result["frames"] == 8
    assert [row["person"] for row in result["found"]] == ["0014"] * 3
    distances = [row["distance"] for row in result["found"]]
    assert distances == sorted(distances)


@pytest.mark.slow
def test_faces_from_single_images_to_pairs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    people(tmp_path / "data", persons=range(4, 12), videos=4, frames=6, draw=face)
    youtube_faces(tmp_path / "ytf", persons=4, frames=12)
    small = f"{TINY} --embedding 16 --held-out 0.2 --train-samples 64"
    ran(capsys, f"train faces_frames --data data --out flat {small} --epochs 8 --lr 0.01")
    assert ran(capsys, f"train faces --data data --start-from flat --out deep {small}")
    found = ran(capsys, "evaluate deep --data youtube_faces:ytf --frames 5 10")
    names = ["5 avg all", "5 avg 5:end", "10 avg all", "10 avg 5:end"]
    assert [row["frames"] for row in found["summary"]] == names
    assert all(row["right"] >= 0.8 for row in found["summary"])
    assert all((row["folds"], row["cases"]) == (10, 20) for row in found["summary"])
    assert (tmp_path / "deep/evaluation/report.html").is_file()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("persons")
    people(root / "data", persons=range(4), videos=2, frames=3)
    return untrained(root / "run", tiny(str(root / "data")))


def test_a_gallery_of_video_files(run, tmp_path, capsys):
    known = tmp_path / "known"
    (known / "ann").mkdir(parents=True)
    (known / "bob").mkdir()
    film(known / "ann" / "a.mp4", frames=6)
    film(known / "bob" / "b.mp4", frames=9, size=(64, 48))
    found = ran(capsys, f"index {run} {known} --out {tmp_path}/g")
    assert (found["videos"], found["persons"]) == (2, 2)
    lone = film(tmp_path / "c.mp4", frames=4)
    assert ran(capsys, f"index {run} {lone} --out {tmp_path}/g --add")["videos"] == 3
    for name, video in (("ann/a.mp4", known / "ann" / "a.mp4"), ("c.mp4", lone)):
        (result,) = ran(capsys, f"search {tmp_path}/g {video} --num 2")["videos"]
        assert result["found"][0]["name"] == name
        assert result["found"][0]["distance"] < 1e-3
    (result,) = ran(capsys, f"search {tmp_path}/g {lone} --limit 2")["videos"]
    assert (result["frames"], len(result["found"])) == (2, 3)


def test_what_cannot_be_indexed_or_searched(run, tmp_path, capsys):
    video = film(tmp_path / "a.mp4", frames=3)
    gallery = tmp_path / "g"
    ran(capsys, f"index {run} {video} --out {gallery}")
    assert "pass --add" in refused(capsys, f"index {run} {video} --out {gallery}")
    assert "each name once" in refused(capsys, f"index {run} {video} --out {gallery} --add")
    assert "needs videos" in refused(capsys, f"index {run}")
    assert "no file or folder" in refused(capsys, f"index {run} {tmp_path}/none --out {tmp_path}/h")
    (tmp_path / "empty").mkdir()
    assert "no video" in refused(capsys, f"index {run} {tmp_path}/empty --out {tmp_path}/h")
    assert not (tmp_path / "h").exists()
    assert "is no gallery" in refused(capsys, f"search {run} {video}")
    assert "needs a video" in refused(capsys, f"search {gallery}")
    assert "--num" in refused(capsys, f"search {gallery} {video} --num 0")
    assert "no file" in refused(capsys, f"search {gallery} {tmp_path}/none.mp4")
    other = run.parent / "other"
    if not other.exists():
        untrained(other, tiny(str(run.parent / "data"), seed=1))
    assert "not those that made" in refused(capsys, f"search {gallery} {video} --run {other}")
    assert "pass --run" in refused(capsys, f"search {gallery} {video} --run {tmp_path}")
    assert "other weights" in refused(capsys, f"index {other} {video} --out {gallery} --add")


@pytest.mark.slow
def test_the_step_of_a_running_vector_as_onnx(run, tmp_path, capsys):
    found = ran(capsys, f"export {run} --out {tmp_path}/step.onnx")
    assert found["frames"] == [3, 1, 32, 32]
    assert "mean.mean" in " ".join(found["inputs"])
    assert found["largest_difference"] < 1e-4


def test_commands_of_other_tasks_refuse_a_run_of_persons(run, tmp_path, capsys):
    video = film(tmp_path / "a.mp4", frames=3)
    assert "use lean3d index and search" in refused(capsys, f"stream {run} {video}")
    assert "--clips is not for this run" in refused(capsys, f"evaluate {run} --clips 3")
    said = refused(capsys, f"evaluate {run} --frames 3 5")
    assert "videos of one length" in said


def test_what_cannot_be_trained(tmp_path, capsys):
    assert "needs data" in refused(capsys, f"train persons --out {tmp_path}/run")
    youtube_faces(tmp_path / "ytf", persons=2, frames=1)
    said = refused(capsys, f"train persons --data ytf:{tmp_path}/ytf --out {tmp_path}/run")
    assert "no part to train on" in said
    assert not (tmp_path / "run").exists()
