import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from affinity_cases import FAR, NEAR, neurites

from lean3d.data.read import open_scan
from lean3d.errors import LeanError
from lean3d.infer import (
    BlockSegmentation,
    Watershed,
    agglomerate,
    dask_executor,
    drop_small,
)
from lean3d.infer.block_jobs import processes, run_blocks
from lean3d.infer.chunks import make_array, open_array
from lean3d.infer.grid import blocks_of
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


def test_a_scheduler_that_is_not_there_is_one_sentence(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("lean3d.infer.cluster.SCHEDULER", 0.2)
    for address in ("tcp://127.0.0.1:1", "nonsense://x"):
        with pytest.raises(LeanError, match="no dask scheduler at") as caught:
            dask_executor(address).__enter__()
        assert len(str(caught.value)) <= 400


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
