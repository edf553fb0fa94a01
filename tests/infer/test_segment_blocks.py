import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affinity_cases import FAR, NEAR, neurites

from lean3d.data.read import open_scan
from lean3d.errors import LeanError
from lean3d.infer import (
    BlockSegmentation,
    Watershed,
    agglomerate,
    components,
    dask_executor,
    drop_small,
)
from lean3d.infer.block_jobs import processes, run_blocks
from lean3d.infer.chunks import make_array, open_array
from lean3d.infer.grid import blocks_of
from lean3d.infer.scales import coarser_scales
from lean3d.metrics import instance_scores

pytest.importorskip("bioimage_cpp")
pytest.importorskip("zarr")

SHAPE = (20, 36, 40)


def prepared(folder, channels=NEAR, block=SHAPE, **more):
    affinity, label = neurites(channels)
    make_array(folder / "affinities", affinity.shape, (len(channels), 8, 16, 16), "uint8")
    open_array(folder / "affinities")[:] = affinity
    settings = {k: more.pop(k) for k in ("fill", "sections") if k in more}
    watershed = Watershed(offsets=channels, **settings)
    job = BlockSegmentation(folder=folder, watershed=watershed, block=block, **more)
    return job, affinity, label


class Truth:
    def __init__(self, label):
        self.label = label

    def __call__(self, window):
        return self.label[window]


def segmented(job):
    return open_array(job.folder / "segmentation" / "0")[:]


@pytest.mark.parametrize(
    "more", [dict(sections=True, fill=False), dict(linkage="max", smallest=40)]
)
@pytest.mark.parametrize("block", [(7, 20, 11)])
def test_the_segmentation_does_not_depend_on_blocks(tmp_path, block, more):
    results = []
    for size in (SHAPE, block):
        job, _, label = prepared(tmp_path / str(size), block=size, **more)
        found = job.run((0.2, 0.4, 0.6), truth=Truth(label))
        results.append((segmented(job), found))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert 1 < results[0][1].instances < results[0][1].fragments


def test_equals_waterz_on_the_whole_volume(tmp_path):
    job, affinity, label = prepared(tmp_path, block=(7, 20, 11), smallest=40)
    found = job.run((0.2, 0.4, 0.6), truth=Truth(label))
    fragments = Watershed(offsets=NEAR).whole(affinity)
    theirs = dict(agglomerate(affinity, fragments, (0.2, 0.4, 0.6)))
    ours = segmented(job)
    whole = drop_small(theirs[found.threshold], 40)
    assert instance_scores(ours, whole, ignored=()).vi < 1e-9
    scores = {t: instance_scores(drop_small(s, 40), label) for t, s in theirs.items()}
    for threshold, score in found.scores.items():
        assert score.vi == pytest.approx(scores[threshold].vi)
    assert found.threshold == min(scores, key=lambda t: scores[t].vi)
    assert found.instances == len(np.unique(ours[ours > 0])) == ours.max()


def test_the_mutex_watershed_does_not_depend_on_blocks(tmp_path):
    results = []
    for size in (SHAPE, (7, 20, 11)):
        job, _, _ = prepared(tmp_path / str(size), FAR, block=size, method="mutex")
        assert job.run().threshold is None
        results.append(segmented(job))
    np.testing.assert_array_equal(*results)
    assert results[0].max() > 3


@pytest.mark.parametrize("fill", [True, False])
def test_components_do_not_depend_on_blocks(tmp_path, fill):
    results = []
    for size in (SHAPE, (7, 20, 11)):
        job, affinity, label = prepared(
            tmp_path / str(size), block=size, method="components", smallest=5, fill=fill
        )
        found = job.run((0.8,), truth=Truth(label))
        assert list(found.scores) == [0.8] == [found.threshold]
        results.append((segmented(job), found))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    whole = drop_small(components(affinity, NEAR, 0.8), 5)
    assert instance_scores(results[0][0], whole, ignored=()).vi < 1e-9
    assert ((whole > 0) == (results[0][0] > 0)).all()
    assert found.scores[0.8].vi == pytest.approx(instance_scores(whole, label).vi)
    assert 3 < found.instances == results[0][0].max() < found.fragments


def test_components_take_one_threshold_and_keep_to_it(tmp_path):
    job, _, _ = prepared(tmp_path, block=(10, 36, 40), method="components")
    with pytest.raises(LeanError, match=r"one threshold, got 0.3, 0.5; give one"):
        job.run((0.3, 0.5))
    job.run((0.5,))
    with pytest.raises(LeanError, match="another threshold"):
        job.run((0.4,))


def mode(labels, step):
    """The most frequent label of every step voxels, the least of several, voxel by voxel."""
    found = np.zeros([-(-n // s) for n, s in zip(labels.shape, step, strict=True)], labels.dtype)
    for place in np.ndindex(*found.shape):
        part = labels[tuple(slice(p * s, (p + 1) * s) for p, s in zip(place, step, strict=True))]
        numbers, counts = np.unique(part, return_counts=True)
        found[place] = numbers[counts.argmax()]
    return found


OTHERS = [pytest.param(form, marks=pytest.mark.slow) for form in ("n5", "precomputed")]


@pytest.mark.parametrize("form", ["zarr", *OTHERS])
def test_coarser_scales_hold_the_most_frequent_labels(tmp_path, form, monkeypatch):
    pytest.importorskip("tensorstore")
    monkeypatch.setattr("lean3d.infer.scales.SMALL", 12)
    monkeypatch.setattr("lean3d.infer.segment_blocks.COARSE", (8, 8, 8))
    monkeypatch.setattr("lean3d.infer.label_store.COARSE", 8)
    settings = dict(form=form, voxel_nm=(40, 4, 8))
    job, _, _ = prepared(tmp_path, block=(7, 20, 11), **settings)
    said = []
    # threads, as blocks of a scale must not share a chunk either
    job.run((0.4,), executor=ThreadPoolExecutor(4), say=lambda *what: said.append(what))
    assert said[-1] == ("scale 4", 2, 2)
    scan = open_scan(job.store.folder)
    assert scan.grid.shape == SHAPE
    # rows are the narrowest, then columns as narrow as they, and sections at the end
    factors = [(1, 2, 1), (1, 4, 2), (1, 8, 4), (2, 16, 8)]
    expected, before = scan.load(slice(None))[0], (1, 1, 1)
    assert len(scan.scales) == len(factors)
    for name, factor in zip(scan.scales, factors, strict=True):
        expected = mode(expected, [a // b for a, b in zip(factor, before, strict=True)])
        before = factor
        scale = open_scan(Path(f"{job.store.folder}:{name}"))
        np.testing.assert_array_equal(scale.load(slice(None))[0], expected)
        sides = [side * f * 1e-6 for side, f in zip((40, 4, 8), factor, strict=True)]
        assert scale.grid.spacing == pytest.approx(sides)


def test_scales_halve_the_narrowest_voxels_first():
    assert coarser_scales((64, 128, 128), (10, 10, 10)) == []
    assert coarser_scales((500, 500, 300), (10, 10, 10)) == [(2, 2, 2), (4, 4, 4)]
    assert coarser_scales((30, 512, 512), (50, 4, 4)) == [(1, 2, 2), (1, 4, 4)]
    assert coarser_scales((30, 2048, 2048), (50, 20, 20))[:2] == [(1, 2, 2), (2, 4, 4)]
    # as neuroglancer asks for them
    ask = pytest.importorskip("neuroglancer.downsample_scales")
    ours = coarser_scales((90, 3000, 2000), (33, 4, 6))
    theirs = ask.compute_near_isotropic_downsampling_scales(
        np.array((2000, 3000, 90)), np.array((6, 4, 33)), [0, 1, 2], max_downsampling=2**40
    )
    assert [scale[::-1] for scale in theirs[1:]] == ours


@pytest.mark.parametrize("kind", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_two_workers_give_what_one_gives(tmp_path, kind):
    one, _, _ = prepared(tmp_path / "one", block=(10, 36, 40))
    two = replace(one, folder=tmp_path / "two")
    prepared(tmp_path / "two")
    said = []
    first = one.run((0.3, 0.5))
    settings = dict(executor=ThreadPoolExecutor(2)) if kind == "threads" else dict(workers=2)
    second = two.run((0.3, 0.5), say=lambda *what: said.append(what), **settings)
    assert first == second
    np.testing.assert_array_equal(segmented(one), segmented(two))
    assert said[-1] == ("segmentation", 2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["n5", "precomputed"])
def test_other_formats_hold_what_zarr_holds(tmp_path, form):
    pytest.importorskip("tensorstore")
    plain, _, _ = prepared(tmp_path / "plain", block=(7, 20, 11))
    plain.run((0.4,))
    other, _, _ = prepared(tmp_path / form, block=(7, 20, 11), form=form, voxel_nm=(40, 4, 8))
    other.run((0.4,), executor=ThreadPoolExecutor(2))
    whole = tuple(slice(0, n) for n in SHAPE)
    np.testing.assert_array_equal(other.store.read(whole), segmented(plain))
    scan = open_scan(other.store.folder)
    np.testing.assert_array_equal(scan.load(slice(None))[0], segmented(plain))
    assert scan.grid.spacing == pytest.approx((40e-6, 4e-6, 8e-6))


def test_the_workers_of_a_dask_cluster_give_what_one_process_gives(tmp_path):
    distributed = pytest.importorskip("distributed")
    one, _, _ = prepared(tmp_path / "one", block=(10, 18, 20))
    two, _, _ = prepared(tmp_path / "two", block=(10, 18, 20))
    first = one.run((0.3, 0.5))
    settings = dict(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
    with (
        distributed.LocalCluster(**settings) as cluster,
        dask_executor(cluster.scheduler_address) as executor,
    ):
        assert two.run((0.3, 0.5), executor=executor) == first
    np.testing.assert_array_equal(segmented(one), segmented(two))


@pytest.mark.parametrize(
    "place",
    ["tcp://127.0.0.1:1", "nonsense://x", "c", "", "a:b", "tcp://", "/no/such.json", "x" * 200],
)
def test_a_scheduler_that_is_not_there_is_one_sentence(monkeypatch, place):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("lean3d.infer.cluster.SCHEDULER", 0.2)
    # one that is made and finds nobody tries on for forty seconds when the process ends
    monkeypatch.setattr(distributed, "Client", None)
    with pytest.raises(LeanError, match="no dask scheduler at") as caught:
        dask_executor(place).__enter__()
    assert len(str(caught.value)) <= 400


def test_another_file_than_a_schedulers_is_refused(tmp_path):
    pytest.importorskip("distributed")
    for number, text in enumerate(("", "[]", '{"id": 1}')):
        (tmp_path / str(number)).write_text(text)
        with pytest.raises(LeanError, match="is not what `dask scheduler"):
            dask_executor(str(tmp_path / str(number))).__enter__()


def _dies(block):
    os._exit(1)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_one_sentence(tmp_path):
    blocks = blocks_of((4, 4, 4), (2, 4, 4))
    with pytest.raises(LeanError, match="fewer workers"), processes(2) as pool:
        run_blocks(_dies, blocks, tmp_path / "done", executor=pool)


KILLED = """
import pathlib, sys
from lean3d.data import read_channels
from lean3d.infer import BlockSegmentation, Watershed
if __name__ == "__main__":
    watershed = Watershed(offsets=read_channels(("z1", "y1", "x1")))
    folder = pathlib.Path(sys.argv[1])
    job = BlockSegmentation(folder=folder, watershed=watershed, block=(5, 12, 10))
    job.run((0.3, 0.5))
"""


@pytest.mark.slow
def test_a_killed_job_goes_on_to_the_same_result(tmp_path):
    job, _, _ = prepared(tmp_path / "whole", block=(5, 12, 10))
    expected = job.run((0.3, 0.5))
    killed = replace(job, folder=tmp_path / "killed")
    prepared(tmp_path / "killed")
    (tmp_path / "job.py").write_text(KILLED)
    stages = []
    for count in (20, 60, 110):
        process = subprocess.Popen([sys.executable, tmp_path / "job.py", killed.folder])
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            if len(list(killed.folder.glob("done/*/*"))) >= count:
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.002)
        process.wait()
        stages.append(len(list(killed.folder.glob("done/*/*"))))
    assert 0 < stages[0] < stages[2]
    assert killed.run((0.3, 0.5)) == expected
    np.testing.assert_array_equal(segmented(killed), segmented(job))


def _fails(block):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor(1)])
def test_a_full_disk_is_one_sentence(tmp_path, executor):
    with pytest.raises(LeanError, match=r"No space left on device.*goes on"):
        run_blocks(_fails, blocks_of((4, 4, 4), (2, 4, 4)), tmp_path / "done", executor=executor)
    assert not list((tmp_path / "done").iterdir())


def test_refuses_other_settings_and_unknown_methods(tmp_path):
    job, _, _ = prepared(tmp_path)
    job.run((0.3,))
    with pytest.raises(LeanError, match="another threshold"):
        job.run((0.6,))
    with pytest.raises(LeanError, match="no method"):
        replace(job, method="guess").run()
    with pytest.raises(LeanError, match="got none"):
        job.run(())
    with pytest.raises(LeanError, match="does not fit"):
        replace(job, block=(21, 4, 4)).run()
    with pytest.raises(LeanError, match="1 worker or more"):
        job.run((0.3,), workers=0)
