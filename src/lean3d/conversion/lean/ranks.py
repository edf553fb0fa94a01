"""Ranks for a budget to choose from."""

__all__ = ["ladder"]

STEPS = 32


def ladder(full: int, multiple: int, steps: int = STEPS) -> list[int]:
    """Return evenly spaced multiples of `multiple` up to at least `full`; all of them if few."""
    most = -(-full // multiple)
    counts = {max(round(most * step / steps), 1) for step in range(1, steps + 1)}
    return [multiple * count for count in sorted(counts)]
