"""Give a model the weights of a published file, all of them or none.

Loading never leaves weights random silently: a file that does not fill the model is refused, and
a head for other classes is skipped only on request.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from lean3d.checkpoints.format import Facts, Format, Preprocessing, Tensors
from lean3d.checkpoints.formats import find_format
from lean3d.checkpoints.match import Match, match
from lean3d.checkpoints.read import read_tensors
from lean3d.checkpoints.structure import Structure, structure
from lean3d.errors import DataError, LeanError
from lean3d.models import list_models
from lean3d.shape import triple
from lean3d.typed import check_kind
from lean3d.weights import check_sizes_known, check_weights

__all__ = ["File", "Loaded", "load_checkpoint", "open_checkpoint", "set_epsilon"]

NORMS = nn.modules.batchnorm._NormBase


@dataclass(frozen=True)
class Loaded:
    """The result of loading a file; kept as `model.checkpoint`.

    Args:
        format: As `load_checkpoint` takes it.
        what: Origin of the file.
        loaded: The model's tensors that have the file's values.
        not_loaded: The model's tensors that were left unchanged.
        unused: Tensors of the file without a counterpart in the model.
        num_classes: Of the file's head; None if it has none.
        eps: The epsilon set in the batch norms; None if they kept theirs.
        preprocessing: How to prepare inputs; None if the format does not define it.
    """

    path: str
    format: str
    what: str
    loaded: tuple[str, ...]
    not_loaded: tuple[str, ...]
    unused: tuple[str, ...]
    num_classes: int | None
    eps: float | None
    preprocessing: Preprocessing | None

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.what} (format {self.format}), {len(self.loaded)} tensors"]
        lines += [f"not loaded: {', '.join(self.not_loaded)}"] if self.not_loaded else []
        lines += [f"not used: {', '.join(self.unused)}"] if self.unused else []
        lines += [f"batch norm epsilon {self.eps:g}"] if self.eps is not None else []
        lines += [f"input: {self.preprocessing}"] if self.preprocessing is not None else []
        return "\n".join(lines)


@dataclass(frozen=True)
class File:
    """A file's tensors by its own names, and by their names in lean3d."""

    path: Path
    form: Format
    stored: Tensors
    tensors: Tensors
    facts: Facts
    structure: Structure | None
    beside: tuple[str, ...] = ()


def open_checkpoint(
    path: str | Path, *, format: str | None = None, own: Collection[str] = ()
) -> File:
    """Read a file and recognise it; see `load_checkpoint`.

    Args:
        own: The names of the model that it is for: what wraps them in the file is removed.

    Raises:
        DataError: the file is missing or damaged, or of no known format.
    """
    check_kind("load_checkpoint", path, str | Path, "the path of a file")
    check_kind("load_checkpoint", format, str | None, "the name of a format such as 'lean3d'")
    tensors, beside = read_tensors(path, own)
    try:
        return _recognised(Path(path), tensors, beside, find_format(tensors, format))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _recognised(path: Path, tensors: Tensors, beside: tuple[str, ...], form: Format) -> File:
    tensors = {key: form.value(tensor) for key, tensor in tensors.items()}
    renamed = {new: tensors[old] for old, new in form.names(tensors).items()}
    if len(renamed) < len(tensors):
        raise LeanError(f"{path} has two keys for one weight of {form.what}; remove one")
    facts, found = form.facts(renamed), structure(renamed)
    if found is not None:
        found = replace(found, arguments={**found.arguments, **facts.arguments})
    return File(path, form, tensors, renamed, facts, found, beside)


def load_checkpoint(
    model: nn.Module,
    path: str | Path,
    *,
    format: str | None = None,
    new_head: bool = False,
    new_channels: bool = False,
) -> Loaded:
    """Load published weights into `model`, with the epsilon of their batch norms.

    Args:
        path: A .safetensors file, or one torch.save wrote; it is read without running code.
        format: "vmz", "caffe2", "mmaction2", "pytorchvideo", "torchvision", "3d-resnets",
            "medicalnet", "efficient-3dcnns", "acsconv", "timm_3d", "imagenet" (a 2D ResNet, to
            inflate) or "lean3d", which changes no name and no epsilon; by default it is
            recognised by the keys, all but "timm_3d" and "imagenet".
        new_head: Leave the model's own head unchanged if the file's has other classes, or is
            absent; the tensors left are in `not_loaded`.
        new_channels: Distribute the first kernel over the model's input channels if the file's has
            others, so that equal channels give what they gave.

    Raises:
        DataError: the file is missing, damaged, or would run code, or a tensor of it has invalid
            values, such as NaN; the message names it.
        LeanError: the file is of another model; names the first difference and how to build it.
    """
    check_kind("load_checkpoint", model, nn.Module, "an nn.Module to load weights into")
    own = model.state_dict().keys()
    check_sizes_known("load_checkpoint", model)
    file = open_checkpoint(path, format=format, own=own)
    # a timm_3d network has names of its own
    named = max(file.tensors, file.stored, key=lambda tensors: len(own & tensors.keys()))
    found = match(model, named, inflate=file.form.inflates, new_channels=new_channels)
    _check_body(model, file, found)
    _check_stem(model, file)
    if found.fresh and not new_head:
        raise _head_error(model, file, found)
    check_weights(path, found.values, model.state_dict())
    model.load_state_dict({**model.state_dict(), **found.values})
    norms = set_epsilon(model, file.facts, found.values)
    head = file.tensors.get("fc.weight")
    loaded = Loaded(
        path=str(path),
        format=file.form.name,
        what=file.form.what,
        loaded=tuple(found.values),
        not_loaded=tuple(found.fresh),
        unused=(*found.unknown, *file.beside),
        num_classes=None if head is None or not head.ndim else head.shape[0],
        eps=file.facts.eps if norms else None,
        preprocessing=file.facts.preprocessing,
    )
    # kept with the model, as `conversion` is
    model.checkpoint = loaded  # type: ignore[assignment]
    return loaded


def set_epsilon(model: nn.Module, facts: Facts, loaded: Collection[str]) -> bool:
    """Give the batch norms that have a file's values its epsilon; return whether there are any."""
    named = [(name, m) for name, m in model.named_modules() if isinstance(m, NORMS)]
    norms = [(name, m) for name, m in named if f"{name}.running_mean" in loaded]
    for name, norm in norms:
        norm.eps = facts.epsilon(name) or norm.eps
    return bool(norms)


def _check_body(model: nn.Module, file: File, found: Match) -> None:
    if problems := found.problems(file.form.spare):
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise LeanError(f"{_misfit(model, file)}: {problems[0]}{more}; {_remedy(file)}")


def _head_error(model: nn.Module, file: File, found: Match) -> LeanError:
    why, build = f"it has no {', '.join(found.fresh)}", ""
    if classes := found.classes():
        why = f"it tells {classes[0]} classes apart and the model {classes[1]}"
        build = f"build it with num_classes={classes[0]}, or "
    keep = "pass new_head=True to keep the model's own head as it is"
    return LeanError(f"{_misfit(model, file)}: {why}; {build}{keep}")


def _misfit(model: nn.Module, file: File) -> str:
    return f"{file.path} ({file.form.what}) does not fit {type(model).__name__}"


def _check_stem(model: nn.Module, file: File) -> None:
    """Refuse a network with the file's keys that computes something else."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv3d)), None)
    if first is None:
        return
    stem = getattr(model, "stem", None)
    layers = list(stem) if isinstance(stem, nn.Sequential) else []
    pools = [triple(m.kernel_size) for m in layers if isinstance(m, nn.MaxPool3d)]
    pool = pools[0] if pools else None
    facts, who = file.facts, f"{file.path} ({file.form.what}) comes from a network"
    if first in layers and facts.pools and pool not in facts.pools:
        expected = " or ".join(map(_pool, facts.pools))
        why = f"with {expected} behind the stem and the model has {_pool(pool)}"
    elif facts.stem_stride not in (None, first.stride):
        why = f"whose stem has stride {facts.stem_stride} and the model's has {first.stride}"
    else:
        return
    other = "format='lean3d' or 'timm_3d' if one of those wrote it"
    raise LeanError(f"{who} {why}; {_remedy(file)}, or pass {other}")


def _pool(kernel: tuple[int, ...] | None) -> str:
    return "no pool" if kernel is None else f"a pool of {'x'.join(map(str, kernel))}"


def _remedy(file: File) -> str:
    found = file.structure
    if found is None or found.name not in list_models():
        return "build the network it was saved from"
    return f"build it with {found}"
