"""Fill a network, or its encoder, from the tensors of a file that was made for a similar one.

The file may be of the whole network, of the backbone alone, or of another network with the same
backbone; of an image with other channels, or with other classes. What is not filled is named.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.to3d.in_channels import deal
from lean3d.errors import RunError
from lean3d.weights import check_weights

__all__ = ["Filled", "fill", "is_part"]

# paths that begin a name in one network and not in another have at most this many parts
DEEPEST = 3
HEADS = re.compile(r"(^|\.)(fc|head|classifier|\w*_head)(\.|$)")
ENCODERS = re.compile(r"(network\.)?(encoder|backbone)\.")
# second heads, of training alone
SPARE = re.compile(r"(.*\.)?(aux\w*|head_dist)\.")
LAYERS = nn.Linear, nn.modules.conv._ConvNd


@dataclass(frozen=True)
class Filled:
    """The tensors of a network that have a file's values, and those that keep their own."""

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


def is_part(tensors: Mapping[str, Tensor], model: nn.Module) -> bool:
    """Whether most of the tensors are those of a part of the model, by their names."""
    named = [name for name in tensors if not _counts(name)]
    names, _, place = _align({name: tensors[name] for name in named}, _own(model))
    return bool(place) and 2 * len(names) > len(named)


def fill(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    file: str,
    who: str,
    encoder: bool = False,
    lacks: str = r"(?!)",
) -> Filled:
    """Give `model` the values of a file, all of them or none.

    Kernels of an image with other channels are distributed over the new ones so that equal
    channels give the same; a last layer for other classes keeps its values.

    Args:
        tensors: Of the file, by name.
        file, who: Names of the file and of the network in a message.
        encoder: Fill the encoder alone; the rest of the network keeps its values.
        lacks: Pattern of names that keep their values if the file has none of them.

    Raises:
        RunError: the file is of another network; names the first difference.
    """
    own = _own(model)
    names, before, place = _align({n: x for n, x in tensors.items() if not _counts(n)}, own)
    wanted = _wanted(model, own, place, encoder, who)
    found = {names[name]: tensors[name] for name in names}
    head = _head(model)
    loaded, fresh, wrong = {}, [], []
    absent = set() if any(re.match(lacks, name) for name in tensors) else _like(own, lacks)
    for name, here in own.items():
        if name not in wanted or (name not in found and name in absent):
            fresh.append(name)
        elif name not in found and not _is_in(name, head):
            wrong.append(f"{name} is not in the file")
        elif name not in found:
            fresh.append(name)
        elif (value := _fitted(found[name], here, name, model)) is not None:
            loaded[name] = value
        elif _is_beside(name, head) and found[name].shape[1:] == here.shape[1:]:
            fresh.append(name)
        else:
            there = tuple(found[name].shape)
            wrong.append(f"{name} has shape {there} in the file and {tuple(here.shape)} here")
    fresh += _other_half(loaded, fresh, head)
    # nnU-Net's decoder has the encoder as a part of it, under other names
    marks = {name: id(x) for name, x in model.state_dict(keep_vars=True).items()}
    filled = {marks[name] for name in loaded}
    fresh = [name for name in fresh if marks[name] not in filled]
    unused = [name for name in tensors if names.get(name) not in own and not _counts(name)]
    if not (before or place or encoder):
        wrong += [f"{name} is not in the network" for name in unused if not _is_spare(name, head)]
    if wrong or not loaded:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        first = wrong[0] if wrong else "no name of it is one of the network's"
        remedy = "give weights of the same network, or of its backbone"
        if _is_flat(tensors) and not _is_flat(own):
            remedy = "its kernels are 2D: --format imagenet inflates those of a ResNet"
        if _is_flat(own) and any(x.ndim == 5 for x in tensors.values()):
            remedy = "its kernels are 3D, as those of a network converted by i3d or conv3d"
        raise RunError(f"{file} does not fit {who}: {first}{more}; {remedy}")
    check_weights(file, loaded, own)
    model.load_state_dict({**model.state_dict(), **loaded})
    return Filled(tuple(loaded), tuple(dict.fromkeys(fresh)), tuple(unused))


def _own(model: nn.Module) -> dict[str, Tensor]:
    return {name: x for name, x in model.state_dict().items() if not _counts(name)}


def _like(names: Iterable[str], pattern: str) -> set[str]:
    return {name for name in names if re.match(pattern, name)}


def _is_flat(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the weights of a 2D network."""
    axes = {x.ndim for x in tensors.values()}
    return 4 in axes and 5 not in axes


def _align(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[dict[str, str], str, str]:
    """Return name in the file -> name in the network, and the parts of both that are the same.

    Names are compared without the difference of "." and "_": timm renames what it cuts.
    """
    rests: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for name in own:
        for path, rest in _cuts(name):
            rests[rest].append((path, name))
    alike: Counter[tuple[str, str]] = Counter()
    for name, value in given.items():
        for path, rest in _cuts(name):
            for place, mine in rests[rest]:
                # a first or last layer may have another shape, no other one
                alike[path, place] += 2 if own[mine].shape == value.shape else 0
                alike[path, place] += 1
    usable = [pair for pair in alike if _is_large(pair[1], own)]
    # of equals the one with the fewest parts cut off
    before, place = max(
        usable, key=lambda pair: (alike[pair], -len("".join(pair))), default=("", "")
    )
    names = {}
    for name in given:
        for path, rest in _cuts(name):
            hits = [mine for where, mine in rests[rest] if where == place]
            if path == before and hits:
                names[name] = hits[0]
    return names, before, place


def _is_large(place: str, own: Mapping[str, Tensor]) -> bool:
    """Whether a part of the network is worth filling alone: its encoder, or most of it."""
    encoder = {name for name in own if ENCODERS.match(name)}
    inside = {name for name in own if name.startswith(place)}
    return encoder <= inside if encoder else 2 * len(inside) > len(own)


def _cuts(name: str) -> Iterator[tuple[str, str]]:
    parts = name.split(".")
    for count in range(min(DEEPEST, len(parts) - 1) + 1):
        path = "".join(f"{part}." for part in parts[:count])
        yield path, "_".join(parts[count:])


def _wanted(
    model: nn.Module, own: Mapping[str, Tensor], place: str, encoder: bool, who: str
) -> set[str]:
    """Return the tensors that the file must fill."""
    if place:
        return {name for name in own if name.startswith(place)}
    if not encoder:
        return set(own)
    parts = {name for name in own if ENCODERS.match(name)}
    # of a network that classifies, everything is encoder but its last layer
    if not parts and isinstance(model.get_submodule(_head(model)), nn.Linear):
        parts = {name for name in own if not _is_in(name, _head(model))}
    if not parts:
        raise RunError(f"{who} has no part called encoder or backbone; load weights of all of it")
    return parts


def _head(model: nn.Module) -> str:
    """Return the path of the last layer."""
    paths = [path for path, module in model.named_modules() if isinstance(module, LAYERS)]
    named = [path for path in paths if HEADS.search(path)]
    return (named or paths or [""])[-1]


def _is_in(name: str, path: str) -> bool:
    return name.rpartition(".")[0] == path


def _is_beside(name: str, head: str) -> bool:
    """Whether a name is of the last layer, or of one in a list of layers with it."""
    place, _, number = head.rpartition(".")
    listed = number.isdecimal() and name.rpartition(".")[0].rpartition(".")[0] == place
    return _is_in(name, head) or listed


def _is_spare(name: str, head: str) -> bool:
    return bool(SPARE.match(name)) or _is_in(name, head)


def _other_half(loaded: dict[str, Any], fresh: list[str], head: str) -> list[str]:
    """Take the bias of a last layer out too if its weight is not the file's, and conversely."""
    if not any(_is_in(name, head) for name in fresh):
        return []
    halves = [name for name in loaded if _is_in(name, head)]
    for name in halves:
        del loaded[name]
    return halves


def _fitted(value: Tensor, here: Tensor, name: str, model: nn.Module) -> Tensor | None:
    """Return the value with the network's shape; None if it cannot have it."""
    if value.shape == here.shape:
        return value
    same = value.ndim == here.ndim > 3 and value.shape[0] == here.shape[0]
    if same and value.shape[2:] == here.shape[2:] and name in _stems(model):
        share = deal(value.shape[1], here.shape[1]).to(value)
        return torch.einsum("oc...,nc->on...", value, share)
    return None


def _stems(model: nn.Module) -> set[str]:
    """Return the names of the first kernel, which reads the image."""
    named = [(n, x) for n, x in model.named_parameters(remove_duplicate=False) if x.ndim > 3]
    return {name for name, x in named if x is named[0][1]}


def _counts(name: str) -> bool:
    return name.endswith("num_batches_tracked")
