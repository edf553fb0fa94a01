"""All formats, and the detection of a file's format."""

from collections.abc import Callable
from typing import Any

from lean3d.checkpoints.format import Facts, Format, Tensors, named_as_here
from lean3d.plugins import Registry

__all__ = ["FORMATS", "find_format", "register_format"]

FORMATS: Registry[Format] = Registry("format", "lean3d.checkpoints")
Owns = Callable[[Tensors], bool]


def register_format(
    name: str,
    what: str,
    *,
    names: Callable[[Tensors], dict[str, str]] = named_as_here,
    facts: Callable[[Tensors], Facts] = lambda tensors: Facts(),
    **more: Any,
) -> Callable[[Owns], Owns]:
    """Decorate a function that says whether a file is of a format: `load_checkpoint` tries it.

    It is given the tensors of a file by their keys, and may be in another package, see
    `lean3d.plugins`. Of two formats that own a file, the one registered later is taken.

    Args:
        name: As `load_checkpoint(format=)` takes it.
        what: Origin of the files, for people.
        names: Key of the file -> name in lean3d; by default no key changes.
        facts: What no key says, by the tensors under their names in lean3d; nothing by default.
        more: `spare`, `value`, `fallback`, `inflates` and `lacks` of `Format`.
    """

    def register(owns: Owns) -> Owns:
        FORMATS.add(name, Format(name, what, owns, names, facts, **more))
        return owns

    return register


@register_format("lean3d", "the model's own names")
def asked_for(tensors: Tensors) -> bool:
    """Only on request, or if no other format owns the file."""
    return False


def find_format(tensors: Tensors, name: str | None = None) -> Format:
    """Return the format of that name, or the first that owns the file."""
    if name is not None:
        return FORMATS.find(name)
    owners = [form for form in FORMATS.values() if form.owns(tensors)]
    own_names = [form for form in owners if not form.fallback]
    return (own_names or owners or [FORMATS["lean3d"]])[-1]
