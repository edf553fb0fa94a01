"""Give a 2D model a different number of classes, before it is converted."""

from typing import Any

import torch
from torch import nn

from lean3d.conversion.surgery.copies import duplicate, for_a_while
from lean3d.conversion.to3d.channel_flow import channel_flow, is_plain, set_counts
from lean3d.conversion.to3d.proof.reference import Reference2D
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.trial_run import run_lightly
from lean3d.errors import ConversionError

__all__ = ["find_heads", "with_classes"]

LARGE = (299, 299)
COUNTS = ("out_features", "out_channels", "num_classes")


def find_heads(reference: Reference2D, num_classes: int) -> tuple[list[str], int]:
    """Return the layers whose outputs are the model's classes, and the number of classes.

    Raises:
        ConversionError: there is none, or it cannot be replaced.
    """
    who, name = f"num_classes={num_classes}", type(reference.model).__name__
    found, sources = _ends(reference)
    if len(found) != 1:
        raise ConversionError(
            f"{who}: the outputs of {name} have {sorted(found)} channels; which of them are "
            "classes cannot be told, so replace the head of the 2D model before it is converted"
        )
    before = found.pop()
    heads = [
        path for path in sorted(sources) if _outputs(reference.model.get_submodule(path)) == before
    ]
    for path in heads:
        if not is_plain(reference.model.get_submodule(path), nn.Linear, nn.Conv2d):
            heads = []
    if not heads:
        raise ConversionError(
            f"{who}: the {before} outputs of {name} are not those of an nn.Linear or of an "
            "nn.Conv2d in one group, with a weight of its own; replace the head of the 2D model "
            "before it is converted"
        )
    _check(reference, heads, before, num_classes, who)
    return heads, before


def _ends(reference: Reference2D) -> tuple[set[int], set[str]]:
    """Return the number of output channels, and the modules that made them, in training too."""
    counts: set[int] = set()
    sources: set[str] = set()
    sample = reference.sample
    larger = sample.make(LARGE) if reference.meta is not None else sample.arguments
    for training, arguments in (
        (False, sample.arguments),
        (True, sample.arguments),
        (True, larger),
    ):
        try:
            _, ends = channel_flow(reference.light.train(training), arguments)
        except Exception:  # training heads may need a large image
            continue
        finally:
            reference.light.eval()
        counts |= {x.shape[1] for x, _ in ends if x.ndim > 1}
        sources |= set().union(*(paths for _, paths in ends))
    return counts, sources - {""}


def _outputs(module: object) -> int | None:
    return getattr(module, "out_features", getattr(module, "out_channels", None))


def _check(
    reference: Reference2D, heads: list[str], before: int, num_classes: int, who: str
) -> None:
    why = ""
    with for_a_while(reference.light):
        _draw(reference.light, heads, before, num_classes)
        try:
            found = tensors(run_lightly(reference.light, reference.sample.arguments))
        except Exception as problem:  # a user's forward may raise anything
            why = f"{type(problem).__name__}: {problem}".splitlines()[0]
        else:
            counts = {x.shape[1] for x in found if x.ndim > 1}
            why = "" if counts == {num_classes} else f"the outputs then have {sorted(counts)}"
    if why:
        raise ConversionError(
            f"{who}: {type(reference.model).__name__} needs the {before} outputs of "
            f"{', '.join(map(repr, heads))} ({why})"
        )


def with_classes(
    model: nn.Module, heads: list[str], before: int, num_classes: int
) -> tuple[nn.Module, str]:
    """Return a copy with re-initialised last layers, and a line that describes the change."""
    result = duplicate(model)
    _draw(result, heads, before, num_classes)
    names = ", ".join(map(repr, heads))
    return result, f"num_classes={num_classes}: {names} gave {before} and was re-initialised"


def _draw(model: nn.Module, heads: list[str], before: int, num_classes: int) -> None:
    for path in heads:
        head: Any = model.get_submodule(path)
        set_counts(
            model, path, ("out_features", "out_channels", "num_classes"), before, num_classes
        )
        for name, old in list(head._parameters.items()):
            if old is not None:
                new = old.new_empty(num_classes, *old.shape[1:])
                head._parameters[name] = nn.Parameter(new, requires_grad=old.requires_grad)
        with torch.no_grad():
            head.reset_parameters()
