"""What the lighter network may cost: a share of the given one, or a number."""

from dataclasses import dataclass

from lean3d.errors import LeanError
from lean3d.typed import fits, shortened

__all__ = ["KINDS", "Target", "read_target"]

KINDS = {
    "time": "milliseconds",
    "macs": "multiply-adds",
    "params": "parameters",
    "memory": "bytes",
    "step": "milliseconds",
    "state": "bytes",
}


@dataclass(frozen=True)
class Target:
    """A limit.

    Args:
        kind: time, macs, params or memory; of a stream, step or state.
        value: Up to 1 a share of the given network's; above it, in ms, multiply-adds, parameters or
            bytes.
    """

    kind: str
    value: float

    def limit(self, before: float) -> float:
        """Return the limit itself, for a network that costs `before`."""
        return self.value * before if self.value <= 1 else self.value

    @property
    def streams(self) -> bool:
        """Whether it is a cost of the network as a stream."""
        return self.kind in ("step", "state")

    @property
    def scale(self) -> float:
        """Its unit as a multiple of what is measured: times are measured in seconds."""
        return 1e3 if self.kind in ("time", "step") else 1.0

    def __str__(self) -> str:
        return f"{self.kind}={self.value:g}"


def read_target(**given: float | None) -> Target:
    """Return the one target that was given.

    Raises:
        LeanError: none or several were, or its value is no number above 0.
    """
    found = {name: value for name, value in given.items() if value is not None}
    if len(found) != 1:
        got = " and ".join(found) or "none"
        raise LeanError(f"lighten takes one of {', '.join(KINDS)} as its target, got {got}")
    ((kind, value),) = found.items()
    if not fits(value, float) or not 0 < value < float("inf"):
        raise LeanError(
            f"lighten: {kind} is a share up to 1 of the network's own, or {KINDS[kind]}, "
            f"got {shortened(value)}"
        )
    return Target(kind, float(value))
