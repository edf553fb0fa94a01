"""Runs of persons: batches, scores of drawn walkers and faces that follow from known vectors."""

import csv
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from lean3d.errors import LeanError, RunError
from lean3d.recipes import get_recipe
from lean3d.recipes.build import Start, build_model
from lean3d.recipes.datasets import loaders
from lean3d.recipes.evaluation import Settings, evaluate
from lean3d.recipes.gallery import Searcher, build_gallery
from lean3d.recipes.resolve import resolve
from lean3d.recipes.runs import run
from tests.data.walkers import mars, people, youtube_faces
from tests.recipes.made_persons import tiny, untrained


@pytest.fixture(scope="module")
def walkers(tmp_path_factory):
    root = tmp_path_factory.mktemp("walkers")
    rows = mars(root, frames=5)
    return root, rows


def test_a_batch_of_a_recipe_has_persons_with_their_clips(walkers):
    recipe = resolve(tiny(f"mars:{walkers[0]}", held_out=0.3, train_samples=12))
    assert recipe.num_classes == len(recipe.class_names) == 2
    train, val = loaders(recipe)
    batches = list(train)
    assert len(batches) == 3
    for clip, label in batches:
        assert clip.shape == (4, 3, 4, 32, 32)
        assert label[:, 0].tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
        # two clips by two cameras
        assert label[0, 1] != label[1, 1]
    # two persons by three cameras are held out
    assert sum(len(label) for _, label in val) == 6


KNOWN = "known_network.py"
SOURCE = '''
import torch
from torch import nn


class Mean(nn.Module):
    """The mean colour of a clip."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x_BCTHW):
        return self.scale * x_BCTHW.mean((2, 3, 4))


def net(in_channels=3, num_classes=3):
    return Mean()
'''


@pytest.fixture(scope="module")
def colours(tmp_path_factory, walkers):
    """A run whose vector is the mean colour of a video, which can be worked out from its images."""
    root = tmp_path_factory.mktemp("colours")
    (root / KNOWN).write_text(SOURCE)
    recipe = tiny(
        f"mars:{walkers[0]}",
        model=f"{root / KNOWN}:net",
        widths=None,
        options=(),
        embedding=3,
        held_out=0.3,
        normalise="none",
        mean=(0.0,),
        std=(1.0,),
    )
    return untrained(root / "run", recipe)


def mean_colour(tracklet, side=32):
    """Of the middle square of each image, scaled to the side of the recipe."""
    from lean3d.data import Look
    from lean3d.data.tracklets import read_tracklet

    look = Look((side, side), "middle", mean=(0.0,), std=(1.0,))
    frames = read_tracklet(tracklet, range(len(tracklet.images)), {})
    clips = [frames[:4], frames[1:5]]  # windows of four, the last ends with the video
    found = [look.apply(clip, look.middle(clip[0].shape)).mean((1, 2, 3)) for clip in clips]
    return torch.stack(found).mean(0).double().numpy()


def test_a_search_by_known_vectors(colours, walkers):
    """The scores of each query, from distances that are written out here."""
    from lean3d.data import load_people

    result = evaluate(colours, data=f"mars:{walkers[0]}")
    found = load_people(f"mars:{walkers[0]}")
    vectors = [mean_colour(tracklet) for tracklet in found.gallery]
    for q in found.queries:
        query = found.gallery[q]
        ranked = sorted(range(len(vectors)), key=lambda g: np.linalg.norm(vectors[g] - vectors[q]))
        ranked = [found.gallery[g] for g in ranked]
        ranked = [
            t
            for t in ranked
            if t.person != "-1" and not (t.person == query.person and t.camera == query.camera)
        ]
        hits = [k for k, t in enumerate(ranked, 1) if t.person == query.person]
        name = query.name.replace("/", "__")
        row = result.scored[name].rows[0]
        assert row["first"] == hits[0]
        assert row["right"] == len(hits) == 2
        assert row["nearest"] == ranked[0].name
        assert row["ap_hits"] == pytest.approx(np.mean([(n + 1) / k for n, k in enumerate(hits)]))
        assert [row[f"rank{k}"] for k in (1, 5, 10)] == [hits[0] <= k for k in (1, 5, 10)]
    assert list(result.scored) == sorted(
        result.scored, key=lambda n: result.scored[n].rows[0]["ap"]
    )
    total = result.summary[-1]
    assert total["cases"] == 3
    assert total["ap"] == pytest.approx(
        np.mean([one.rows[0]["ap"] for one in result.scored.values()])
    )
    rows = list(csv.DictReader((result.out / "scores.csv").read_text().splitlines()))
    assert [row["case"] for row in rows] == list(result.scored)
    page = (result.out / "report.html").read_text()
    assert "Cumulative matching" in page


def test_an_evaluation_goes_on_with_the_vectors_it_has(colours, walkers, tmp_path):
    data = f"mars:{walkers[0]}"
    first = evaluate(colours, data=data, out=tmp_path / "one")
    kept = sorted((tmp_path / "one" / "predictions").glob("vectors_*.npy"))
    assert len(kept) == 1
    np.save(kept[0], np.load(kept[0])[::-1])
    # scores are kept too: without them the vectors are read
    for path in (tmp_path / "one" / "scores").glob("*.json"):
        path.unlink()
    second = evaluate(colours, data=data, out=tmp_path / "one")
    assert second.summary[-1]["ap"] != first.summary[-1]["ap"]


def test_the_gallery_without_the_queries(colours, walkers, tmp_path):
    given = dict(data=f"mars:{walkers[0]}", out=tmp_path)
    # the queries are right answers of no other query here, and wrong ones of two
    less = evaluate(colours, settings=Settings(others_only=True), **given)
    assert [one.rows[0]["right"] for one in less.scored.values()] == [2, 2, 2]
    more = evaluate(colours, **given)
    for name, one in more.scored.items():
        assert less.scored[name].rows[0]["first"] <= one.rows[0]["first"]


def test_two_runs_are_compared_on_the_same_queries(colours, walkers, tmp_path):
    other = untrained(tmp_path / "other", tiny(f"mars:{walkers[0]}", held_out=0.3))
    data = f"mars:{walkers[0]}"
    result = evaluate(colours, data=data, against=other, out=tmp_path / "out")
    alone = evaluate(other, data=data, out=tmp_path / "alone")
    (row,) = [row for row in result.comparison if row["score"] == "mAP"]
    assert row["other"] == pytest.approx(alone.summary[-1]["ap"])
    youtube_faces(tmp_path / "ytf", frames=3, folds=2)
    with pytest.raises(RunError, match="cannot be compared: 3 avg all are of one of them"):
        evaluate(
            colours,
            data=f"ytf:{tmp_path / 'ytf'}",
            against=other,
            out=tmp_path / "pairs",
            settings=Settings(frames=(3,)),
        )


@pytest.mark.slow
def test_held_out_persons_are_searched_for_among_each_other(tmp_path):
    people(tmp_path / "data", persons=range(5), videos=3, frames=4)
    run = untrained(tmp_path / "run", tiny(str(tmp_path / "data"), held_out=0.4))
    result = evaluate(run)
    assert len(result.scored) == 2 * 3
    assert {row["queries"] for row in result.summary} == {"all"}
    assert {one.rows[0]["right"] for one in result.scored.values()} == {2}
    assert not any("trained on" in note for note in result.notes)
    # all of the same folder, with the persons that it was trained on
    whole = evaluate(run, data=f"people:{tmp_path / 'data'}", out=tmp_path / "whole")
    assert len(whole.scored) == 5 * 3
    assert any("was trained on 9 of these 15 cases" in note for note in whole.notes)


def test_pairs_by_known_vectors(colours, tmp_path):
    """Accuracies of ten folds, from distances and thresholds that are tried one by one here."""
    from lean3d.data import load_people

    youtube_faces(tmp_path / "ytf", frames=5, persons=3)
    result = evaluate(
        colours,
        data=f"youtube_faces:{tmp_path / 'ytf'}",
        out=tmp_path / "out",
        settings=Settings(frames=(5,)),
    )
    found = load_people(f"ytf:{tmp_path / 'ytf'}")
    vectors = [mean_colour(tracklet) for tracklet in found.gallery]
    distance = [float(np.linalg.norm(vectors[p.first] - vectors[p.second])) for p in found.pairs]
    accuracies = []
    for fold in range(1, 11):
        rest = [k for k, p in enumerate(found.pairs) if p.fold != fold]
        sides = sorted(distance[k] for k in rest)
        tried = [-1.0, *((a + b) / 2 for a, b in pairwise(sides)), sides[-1]]
        right = [sum((distance[k] <= t) == found.pairs[k].same for k in rest) for t in tried]
        limit = tried[right.index(max(right))]
        own = [k for k, p in enumerate(found.pairs) if p.fold == fold]
        accuracies.append(np.mean([(distance[k] <= limit) == found.pairs[k].same for k in own]))
    # this network has no vectors of frames, so that none can be left out
    (row,) = result.summary
    assert row["frames"] == "5 avg all"
    assert row["right"] == pytest.approx(np.mean(accuracies))
    assert row["error"] == pytest.approx(np.std(accuracies, ddof=1) / np.sqrt(10))
    assert (row["folds"], row["cases"]) == (10, 20)


def test_pairs_of_a_causal_network_with_and_without_the_first_frames(tmp_path):
    people(tmp_path / "data", persons=range(4), videos=2, frames=3)
    youtube_faces(tmp_path / "ytf", frames=7, folds=3)
    run = untrained(tmp_path / "run", tiny(str(tmp_path / "data"), normalise="both"))
    result = evaluate(
        run, data=f"ytf:{tmp_path / 'ytf'}", out=tmp_path / "out", settings=Settings(frames=(3, 6))
    )
    names = ["3 avg all", "3 avg 5:end", "6 avg all", "6 avg 5:end"]
    assert [row["frames"] for row in result.summary] == names
    rows = {row["frames"]: row for row in next(iter(result.scored.values())).rows}
    assert rows["6 avg all"]["distance"] != rows["6 avg 5:end"]["distance"]
    assert "Accuracy of each fold" in (result.out / "report.html").read_text()
    with pytest.raises(RunError, match="leave --others-only out"):
        evaluate(run, data=f"ytf:{tmp_path / 'ytf'}", settings=Settings(others_only=True))


def test_a_gallery_finds_its_own_videos_live(tmp_path):
    people(tmp_path / "data", persons=range(4), videos=2, frames=6)
    run = untrained(tmp_path / "run", tiny(str(tmp_path / "data"), skip=2, normalise="both"))
    gallery = build_gallery(run, [str(tmp_path / "data")])
    gallery.save(tmp_path / "g")
    searcher = Searcher(gallery)
    seen = list(searcher.watch(str(tmp_path / "data" / "person02" / "c1")))
    assert [number for number, _ in seen] == list(range(1, 7))
    vector_E = seen[-1][1]
    torch.testing.assert_close(vector_E, gallery.vectors[5], rtol=1e-4, atol=1e-5)
    best = searcher.nearest(vector_E, 3)
    assert (best[0]["name"], best[0]["person"]) == ("person02/c1", "person02")
    assert best[0]["distance"] < 1e-4
    assert [row["rank"] for row in best] == [1, 2, 3]


def test_a_run_of_single_frames_is_inflated(tmp_path):
    people(tmp_path / "data", persons=range(4), videos=2, frames=3)
    flat = tiny(str(tmp_path / "data"), clip=1, options=("head=embedding", "frames=1", "skip=none"))
    first = build_model(resolve(flat)).model.eval()
    deep = resolve(tiny(str(tmp_path / "data"), start_from="run"))
    built = build_model(deep, Start(first.state_dict(), flat.num_classes))
    assert not built.fresh
    # a static video gives what each frame alone gave
    still = torch.rand(1, 3, 1, 32, 32).expand(-1, -1, 5, -1, -1)
    torch.testing.assert_close(built.model.eval()(still), first(still[:, :, :1]))


WRONG = {
    "three persons": (dict(data=dict(persons=range(3))), "four persons are needed"),
    "one video each": (dict(data=dict(videos=1)), "0 of them with two videos"),
    "more persons a batch": (dict(batch_size=8), "pass --batch-size 4"),
    "a batch of one person": (dict(batch_size=2), "batch_size is per_person"),
    "a triplet of single clips": (dict(per_person=1), "pass --triplet 0"),
    "features of another size": (
        dict(options=("head=mean",), embedding=9),
        "returns its 4 features",
    ),
    "classes of one's own": (dict(num_classes=9), "leave --num-classes"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_trained_is_one_sentence(tmp_path, what):
    given, words = WRONG[what]
    people(tmp_path / "data", **dict(persons=range(4), videos=2, frames=1) | given.get("data", {}))
    more = {key: value for key, value in given.items() if key != "data"}
    with pytest.raises(LeanError, match=words) as caught:
        run(
            tiny(str(tmp_path / "data"), **more),
            tmp_path / "run",
            accelerator="cpu",
            progress=False,
        )
    assert len(str(caught.value)) <= 400
    assert not (tmp_path / "run").exists()


def test_the_settings_of_the_paper():
    recipe = get_recipe("mars")
    assert (recipe.per_person, recipe.clip, recipe.epochs, recipe.lr) == (4, 4, 150, 3e-4)
    assert (recipe.schedule, recipe.steps, recipe.optimizer) == ("steps", (60, 120), "adam")
    built = build_model(replace(recipe, num_classes=2)).model
    assert built.head.frames(torch.zeros(1, 512, 2)).shape == (1, 512, 2)
    assert built.stem[0].kernel_size == (1, 7, 7)
    faces = get_recipe("faces")
    assert (faces.clip, faces.lr, faces.embedding, faces.dropout, faces.epochs) == (
        5,
        0.01,
        256,
        0.5,
        1,
    )
    flat = get_recipe("faces_frames")
    assert (flat.clip, flat.lr, flat.batch_size, flat.epochs) == (1, 0.05, 100, 50)
    assert (faces.epochs, faces.triplet, flat.triplet) == (1, 0, 0)
