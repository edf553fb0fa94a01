"""Change input channels and classes, before a 2D model is converted."""

from torch import nn

from lean3d.conversion.quiet import quietly
from lean3d.conversion.to3d.in_channels import with_channels
from lean3d.conversion.to3d.num_classes import find_heads, with_classes
from lean3d.conversion.to3d.proof.reference import make_reference
from lean3d.errors import ConversionError

__all__ = ["with_ends"]


def with_ends(
    model: nn.Module, in_channels: int | None, num_classes: int | None, example: object
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the 2D model, or a copy with other input channels or classes, and what was changed.

    Args:
        example: An input of the copy.
    """
    ends: list[str] = []
    for name, count in (("in_channels", in_channels), ("num_classes", num_classes)):
        if count is not None and (type(count) is not int or count < 1):
            raise ConversionError(f"{name} is a number of at least 1, got {count!r}")
    if in_channels is not None:
        with quietly():
            model, line = with_channels(model, in_channels, example)
        ends.append(line)
    if num_classes is not None:
        with quietly():
            heads = find_heads(make_reference(model, example), num_classes)
        model, line = with_classes(model, *heads, num_classes)  # from the caller's random state
        ends.append(line)
    return model, tuple(ends)
