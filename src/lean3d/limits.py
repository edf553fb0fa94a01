"""Limits of memory and numbers, checked before anything is allocated."""

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lean3d.errors import LeanError
from lean3d.typed import check_kind

__all__ = [
    "MOST_NUMBERS",
    "check_counts",
    "check_memory",
    "check_number",
    "check_sizes",
    "free_memory",
    "in_bytes",
    "memory_told",
    "out_of_memory",
]

# numbers in one tensor: a network multiplies them by its channels, and torch counts in 64 bits
MOST_NUMBERS = 2**40
# strides, kernel sizes, channels, frames
MOST_COUNT = 2**31 - 1

# "you tried to allocate 38400000000 bytes", "Tried to allocate 20.00 GiB", "Unable to allocate ..."
ASKED = re.compile(r"(?:tried|[Uu]nable) to allocate ([\d.]+) ?(bytes|[KMGTPE]i?B)")
MEMORY = re.compile(
    r"can't allocate memory|out of memory|OutOfMemory|[Uu]nable to allocate|std::bad_alloc"
)


def check_number(
    name: str, value: float, low: float = 0, high: float = math.inf, *, above: bool = False
) -> None:
    """Refuse NaN, infinity and values outside low .. high; with `above`, `low` itself too.

    Raises:
        LeanError: names `name`, its range, and the value.
    """
    if low <= value <= high and abs(value) != math.inf and not (above and value == low):
        return
    words = f"above {low:,g}" if above else f"{low:,g} or more"
    words += "" if high == math.inf else f" and at most {high:,g}"
    # Python refuses to write out thousands of digits
    got = value if abs(value) < 10**300 or isinstance(value, float) else "one of 300 digits or more"
    raise LeanError(f"{name} is a number {words}, got {got}")


def check_counts(who: str, *, low: int = 1, **counts: Any) -> None:
    """Refuse arguments that are not whole numbers from `low` to the largest of 32 bits.

    torch cuts some larger ones, such as the stride of a transposed convolution, to 32 bits.

    Raises:
        LeanError: names the owner, the argument and the value.
    """
    for name, value in counts.items():
        check_kind(f"{who}: {name}", value, int, "a whole number")
        check_number(f"{who}: {name}", value, low, MOST_COUNT)


def check_sizes(name: str, sizes: Sequence[int]) -> None:
    """Refuse a tensor of more numbers than any machine can hold.

    Raises:
        LeanError: gives the sizes and their product.
    """
    if (product := math.prod(sizes)) > MOST_NUMBERS:
        shown = f"{product:.2g}" if product < 10**300 else "more than 10^300"
        raise LeanError(
            f"{name} of {_sizes(sizes)} would hold {shown} numbers, and 2^40 are the "
            "limit; give smaller sizes"
        )


def check_memory(what: str, size: int, remedy: str) -> None:
    """Refuse an allocation of more bytes than are free, before it is made.

    Raises:
        LeanError: gives the bytes needed and those that are free.
    """
    free = free_memory()
    if free is not None and size > free:
        raise LeanError(
            f"{what} takes {in_bytes(size)} of memory and {in_bytes(free)} are free; {remedy}"
        )


def out_of_memory(error: BaseException, text: str) -> str | None:
    """Return a sentence with the size asked for, if an error, or its text alone, is of memory."""
    if not (isinstance(error, MemoryError) or MEMORY.search(text)):
        return None
    asked, free = ASKED.search(text), free_memory()
    size = "more"
    if asked:
        size = in_bytes(int(asked[1])) if asked[2] == "bytes" else f"{asked[1]} {asked[2]}"
    known = "" if free is None else f", {in_bytes(free)} are free"
    return f"out of memory: {size} asked for{known}; give a smaller input, model or batch"


@contextmanager
def memory_told() -> Iterator[None]:
    """Say in one sentence that an allocation failed, where its size was not known before.

    Raises:
        LeanError: gives the bytes asked for, and those that are free.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if (said := out_of_memory(error, str(error))) is None:
            raise
        raise LeanError(said) from error


def in_bytes(size: int) -> str:
    """Format a number of bytes for people: "17.8 TiB"."""
    amount, units = float(size), ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    while amount >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    if amount >= 1024:
        return f"{amount:.2g} EiB"
    return f"{amount:.0f} {units[0]}" if units[0] == "bytes" else f"{amount:.1f} {units[0]}"


def free_memory() -> int | None:
    """Return the bytes this process may allocate: by machine, control group and its own limit.

    None if the system does not report it.
    """
    known = [*_of_machine(), *_of_group(), *_of_process()]
    return max(min(known), 0) if known else None


def _sizes(sizes: Sequence[int]) -> str:
    words = [f"{size:,}" if size < 10**18 else f"{size:.2g}" for size in sizes if size < 10**300]
    return " x ".join(words) if len(words) == len(sizes) else f"{len(sizes)} axes"


def _of_machine() -> Iterator[int]:
    text = _read("/proc/meminfo") or ""
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if "MemAvailable" in lines:
        swap = lines.get("SwapFree", "0 kB")
        yield 1024 * (int(lines["MemAvailable"].split()[0]) + int(swap.split()[0]))


def _of_group() -> Iterator[int]:
    """Return the limit of a container's or scheduler's control group, version 2 or 1."""
    groups = [line.split(":", 2) for line in (_read("/proc/self/cgroup") or "").splitlines()]
    for _, kinds, path in (group for group in groups if len(group) == 3):
        if kinds and "memory" not in kinds.split(","):
            continue
        root = "/sys/fs/cgroup/memory" if kinds else "/sys/fs/cgroup"
        most, now = ("limit_in_bytes", "usage_in_bytes") if kinds else ("max", "current")
        for folder in {root, f"{root}{path}"}:
            limit, used = (_read(f"{folder}/memory.{name}") or "" for name in (most, now))
            # version 2 says "max" if there is no limit, version 1 a number near 2^63
            if limit.strip().isdigit() and used.strip().isdigit() and int(limit) < 2**60:
                yield int(limit) - int(used) + _of_cache(_read(f"{folder}/memory.stat") or "")


def _of_cache(stat: str) -> int:
    """Return the bytes of files that a control group keeps in memory until it needs the room."""
    lines = dict(line.split() for line in stat.splitlines() if len(line.split()) == 2)
    # version 1 counts the groups inside apart
    first = "total_" if "total_active_file" in lines else ""
    return sum(int(lines.get(f"{first}{name}_file", 0)) for name in ("active", "inactive"))


def _of_process() -> Iterator[int]:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    pages = (_read("/proc/self/statm") or "").split()
    if limit != resource.RLIM_INFINITY and pages:
        yield limit - int(pages[0]) * os.sysconf("SC_PAGE_SIZE")


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None
