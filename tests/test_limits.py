import math
import resource
import subprocess
import sys

import pytest

from lean3d.errors import LeanError
from lean3d.limits import (
    check_counts,
    check_memory,
    check_number,
    check_sizes,
    free_memory,
    in_bytes,
)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, 11, 10**4000])
def test_numbers_out_of_range_are_refused(value):
    with pytest.raises(LeanError, match="rate is a number 0 or more and at most 10, got"):
        check_number("rate", value, 0, 10)


def test_numbers_within_their_range_pass():
    check_number("rate", 0)
    check_number("rate", 10, 0, 10)
    with pytest.raises(LeanError, match="above 0, got 0"):
        check_number("rate", 0, above=True)


@pytest.mark.parametrize("count", [0, -1, 2**41, 10**400, 1.0, True, "2", None])
def test_counts_are_whole_numbers_within_what_a_tensor_can_have(count):
    with pytest.raises(LeanError, match="Head: layers"):
        check_counts("Head", layers=count)
    check_counts("Head", layers=1)
    check_counts("Head", low=0, layers=0)


@pytest.mark.parametrize("sizes", [(2**21, 2**20), (10**20,), (10**200, 10**200), (10**400,)])
def test_tensors_of_more_numbers_than_can_be_are_refused(sizes):
    with pytest.raises(LeanError, match=r"input of .* numbers"):
        check_sizes("input", sizes)
    check_sizes("input", (2**20, 2**20))


def test_what_takes_more_than_there_is_is_refused_with_both():
    check_memory("a model", 1, "")
    with pytest.raises(
        LeanError, match=r"a model takes 1\.0 EiB of memory and .*iB are free; less"
    ):
        check_memory("a model", 2**60, "less")


def test_bytes_for_people():
    shown = [in_bytes(size) for size in (3, 2048, 17 * 2**40 + 2**39, 10**24)]
    assert shown == ["3 bytes", "2.0 KiB", "17.5 TiB", "8.7e+05 EiB"]


def test_a_limit_of_the_process_is_known():
    code = "from lean3d.limits import free_memory; print(free_memory())"
    limit = 64 << 30
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import resource; resource.setrlimit(9, ({limit}, {limit})); {code}",
        ],
        capture_output=True,
        text=True,
    )
    assert resource.RLIMIT_AS == 9
    assert 0 < int(run.stdout) < limit
    assert free_memory() > 0


@pytest.mark.parametrize("version", [1, 2])
def test_files_that_a_group_keeps_in_memory_are_free(monkeypatch, version):
    own = {"max": "2000", "current": "1500", "limit_in_bytes": "2000", "usage_in_bytes": "1500"}
    stat = "anon 600\nactive_file 300\ninactive_file 500\n"
    if version == 1:
        stat = f"active_file 1\ninactive_file 2\n{stat.replace('active', 'total_active')}"
        stat = stat.replace("intotal_active", "total_inactive")
    files = {f"memory.{name}": text for name, text in own.items()} | {"memory.stat": stat}
    group = "9:memory:/job" if version == 1 else "0::/job"
    files["cgroup"] = group
    monkeypatch.setattr("lean3d.limits._read", lambda path: files.get(path.rpartition("/")[2]))
    assert free_memory() == 2000 - 1500 + 300 + 500
