"""Find the repeated blocks of a 2D network, and the modules that change the size of the plane."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from lean3d.conversion.cycle.survey import Survey
from lean3d.conversion.surgery.subclass import own_class
from lean3d.errors import ConversionError

__all__ = ["Parts", "find_parts"]

Where = Callable[[str, nn.Module], bool]
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Parts:
    """The modules of a network by what is done to them.

    Args:
        blocks: Those that run on planes in turn, in the order of their calls.
        resamplers: Those that change the size of the plane.
        functions: Those whose own forward does by a function.
        what: What the blocks are, in words.
    """

    blocks: tuple[str, ...]
    resamplers: tuple[str, ...]
    functions: tuple[str, ...]
    what: str


def find_parts(model: nn.Module, found: Survey, where: Where | None, layers: bool) -> Parts:
    """Return the parts of a network.

    Args:
        where: Selects blocks; those found by structure if it is true for any of them, else the
            modules for which it is true.
        layers: Convolutions and attention modules in place of blocks.

    Raises:
        ConversionError: it has no blocks.
    """
    modules = dict(model.named_modules())
    units, what = _repeated(modules, found), "blocks"
    if layers or not units:
        units, what = _layers(modules, found, units), "layers"
    if where is not None:
        chosen = [path for path in units if where(path, modules[path])]
        if not chosen:
            asked = [path for path in found.calls if path and where(path, modules[path])]
            chosen, what = _outermost(asked), "chosen modules"
        units = chosen
    keeping = [path for path in units if all(call.keeps_size for call in found.calls[path])]
    strange = next((p for p in keeping if not all(c.knows for c in found.calls[p])), None)
    if strange is not None:
        raise ConversionError(_strange(strange, modules[strange], found))
    if not keeping and (path := _hindered(modules, found)):
        raise ConversionError(_strange(path, modules[path], found))
    if not keeping:
        raise ConversionError(
            f"{type(model).__name__}: nothing in it that is repeated or convolves keeps the size "
            "of its map, so there is no block to run on other planes; name some with where="
        )
    # one that takes maps of both sizes is no whole: what is in it changes the size
    changing = [
        path
        for path in units
        if path not in keeping and any(call.changes_size for call in found.calls[path])
    ]
    resamplers, functions = _resamplers(modules, found, [*keeping, *changing])
    return Parts(tuple(keeping), (*changing, *resamplers), functions, what)


def _hindered(modules: Mapping[str, nn.Module], found: Survey) -> str:
    """Return the first module that would be a block, were it not for what it is given."""
    kinds: dict[type, list[str]] = defaultdict(list)
    for path, calls in found.calls.items():
        unknown = all(call.keeps_size and not call.knows for call in calls)
        if path in found.mixes and unknown and _own(modules, path):
            kinds[own_class(modules[path])].append(path)
    return next((paths[0] for paths in kinds.values() if len(paths) > 1), "")


def _strange(path: str, module: nn.Module, found: Survey) -> str:
    shapes = [tuple(s) for s in found.calls[path][0].shapes if hasattr(s, "numel")]
    return (
        f"{type(module).__name__} at {path!r} cannot run on planes: it is given tensors of "
        f"{shapes}, in which the slices of a volume cannot be found; leave it out with where="
    )


def _own(modules: Mapping[str, nn.Module], path: str) -> bool:
    """Whether a module has a forward of its own."""
    module = modules[path]
    kind = own_class(module)
    torchs = kind.__module__.startswith("torch.nn.") and kind is not nn.TransformerEncoderLayer
    return not torchs and not isinstance(module, (*CONTAINERS, nn.Conv2d))


def _repeated(modules: Mapping[str, nn.Module], found: Survey) -> list[str]:
    """Return the outermost modules of classes that are repeated and mostly keep the size."""
    of_class: dict[type, list[str]] = defaultdict(list)
    for path in found.calls:
        if path and path in found.mixes and _own(modules, path):
            of_class[own_class(modules[path])].append(path)
    kinds = {
        kind: paths
        for kind, paths in of_class.items()
        if len(paths) > 1 and _mostly(_keeps(found, path) for path in paths)
    }
    # a class found mostly inside the modules of another one is a part of those
    whole = {
        kind: paths
        for kind, paths in kinds.items()
        if not any(
            other is not kind and _mostly(_is_inside(path, holders) for path in paths)
            for other, holders in kinds.items()
        )
    }
    wanted = {path for paths in whole.values() for path in paths}
    # one that changes the size gives way to those in it that keep theirs
    keeping = [path for path in wanted if _keeps(found, path)]
    wanted -= {path for path in wanted if any(_is_inside(other, [path]) for other in keeping)} - {
        *keeping
    }
    return _outermost(path for path in found.calls if path in wanted)


def _keeps(found: Survey, path: str) -> bool:
    return all(call.keeps_size and call.knows for call in found.calls[path])


def _layers(modules: Mapping[str, nn.Module], found: Survey, blocks: list[str]) -> list[str]:
    """Return the convolutions that keep the size, and what attends."""
    attending = []
    for path in found.attends:
        while path and not (path in found.calls and _keeps(found, path)):
            path = path.rpartition(".")[0]
        if path:
            attending.append(path)
    convolving = [
        path
        for path, calls in found.calls.items()
        if isinstance(modules[path], nn.Conv2d)
        and path in found.mixes
        and all(call.keeps_size for call in calls)
    ]
    wanted = {*attending, *convolving}
    return _outermost(path for path in found.calls if path in wanted)


def _resamplers(
    modules: Mapping[str, nn.Module], found: Survey, units: list[str]
) -> tuple[list[str], tuple[str, ...]]:
    """Return the innermost modules that change the size, and those that do so by functions.

    What attends from fewer positions to all of them is one module, whatever is in it.
    """
    attending = [
        path for path in found.calls if path in found.attends and found.calls[path][0].changes_size
    ]
    inner = {
        path
        for path in found.calls
        if path in units or _is_inside(path, units) or _is_inside(path, attending)
    }
    outside = [path for path in found.calls if path and path not in inner]
    changing = [
        path
        for path in outside
        if any(call.changes_size for call in found.calls[path])
        and not type(modules[path]).__name__.startswith("Adaptive")
        and not _pools_all(modules[path], found, path)
    ]
    leaves: list[str] = []
    functions: list[str] = []
    holders = [path for path in outside if any(_is_inside(unit, [path]) for unit in units)]
    for path in outside:
        if path in found.resamples and _own(modules, path):
            functions.append(path)
        elif path in changing and path not in holders:
            parts = [p for p in outside if _is_inside(p, [path])]
            if not any(p in changing or p in found.resamples for p in parts):
                leaves.append(path)
    return leaves, tuple(functions)


def _pools_all(module: nn.Module, found: Survey, path: str) -> bool:
    """Whether it reduces every map to one voxel."""
    return all(pair == (1, 1) for call in found.calls[path] for pair in call.sizes_out)


def _is_inside(path: str, holders: Iterable[str]) -> bool:
    return any(path.startswith(f"{holder}.") for holder in holders)


def _outermost(paths: Iterable[str]) -> list[str]:
    every = list(paths)
    return [path for path in every if not _is_inside(path, every)]


def _mostly(answers: Iterable[bool]) -> bool:
    known = list(answers)
    return 2 * sum(known) > len(known)
