"""Parameters shared by several modules: a conversion keeps them shared."""

from collections import defaultdict

from torch import nn

from lean3d.errors import ConversionError

__all__ = ["check_tied", "tied"]


def tied(model: nn.Module) -> list[list[str]]:
    """Return the names of parameters that have several names."""
    names = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    return [group for group in names.values() if len(group) > 1]


def check_tied(
    model: nn.Module, groups: list[list[str]], otherwise: str = "leave them out with where="
) -> None:
    """Raise ConversionError unless every group is one shared parameter, or was removed."""
    now = dict(model.named_parameters(remove_duplicate=False))
    for group in groups:
        left = [name for name in group if name in now]
        if left and (len(left) < len(group) or len({id(now[name]) for name in left}) > 1):
            raise ConversionError(
                f"{', '.join(group)} are one parameter, and the conversion would make them "
                f"different; untie them first, or {otherwise}"
            )
