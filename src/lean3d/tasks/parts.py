"""Parts of a model by the beginnings of their names: "fc", "layer4", "stem.0"."""

from collections.abc import Mapping, Sequence

from torch import nn

from lean3d.errors import RunError

__all__ = ["check_parts", "is_part", "part_scale"]


def is_part(name: str, part: str) -> bool:
    """Whether a parameter or module is a part, or lies in it."""
    return name == part or name.startswith(f"{part}.")


def part_scale(name: str, scales: Mapping[str, float]) -> float:
    """Return the factor of the longest part that a parameter lies in; 1 if it lies in none."""
    parts = [part for part in scales if is_part(name, part)]
    return scales[max(parts, key=len)] if parts else 1.0


def check_parts(model: nn.Module, parts: Sequence[str]) -> None:
    """Refuse names that are no part of the model.

    Raises:
        RunError: names the part, and those there are.
    """
    names = [name for name, _ in model.named_parameters()]
    for part in parts:
        if not any(is_part(name, part) for name in names):
            there = dict.fromkeys(name.split(".")[0] for name in names)
            raise RunError(
                f"{type(model).__name__} has no part {part!r}; its parts are {', '.join(there)}"
            )
