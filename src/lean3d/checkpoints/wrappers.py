"""The model's own tensors in a file that holds it wrapped, or beside other things.

Trainers keep a model inside other modules (DDP's `module`, torch.compile's `_orig_mod`, Lightning's
`self.model` or `self.net`, the averaged copies of EMA and SWA), inside dictionaries, and beside the
tensors of losses and metrics.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["Unwrapped", "sets_in", "unwrap"]

# keys under which releases keep the tensors, in the order in which they are preferred
PARTS = (
    *("state_dict", "model_state", "model_state_dict", "net", "model", "network", "weights"),
    "network_weights",  # nnU-Net's
    *("params", "module", "ema", "model_ema", "ema_state_dict", "state_dict_ema", "swa"),
)
# children under which wrappers keep the model
CHILDREN = ("module", "_orig_mod", "model", "net", "network", "ema_model", "averaged_model")


class Unwrapped(NamedTuple):
    """A model's tensors by the model's names, and the names of other tensors and state_dicts."""

    tensors: dict[str, Tensor]
    beside: tuple[str, ...]


def unwrap(found: Any, own: Collection[str] = ()) -> Unwrapped:
    """Return the tensors of the model in what a file holds; none if there are none by name.

    Args:
        own: The names of the model that they are for: the prefix that leads to most of these is
            removed. Without them, or if few fit, the prefixes of known wrappers are.
    """
    tensors = {str(k): v for k, v in _inside(found).items() if isinstance(v, Tensor)}
    prefix = _leading_to(tensors, set(own)) if own else None
    prefix = _of_wrappers(tensors) if prefix is None else prefix
    kept = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    beside, sets = [k for k in tensors if not k.startswith(prefix)], sets_in(found)
    chosen = next((part for part in PARTS if part in sets), None)
    return Unwrapped(kept, (*beside, *(name for name in sets if name != chosen)))


def sets_in(found: Any) -> tuple[str, ...]:
    """Return the keys under which a file holds tensors by name, each a state_dict."""
    parts = found.items() if isinstance(found, Mapping) else ()
    return tuple(str(key) for key, value in parts if _inside(value))


def _inside(found: Any) -> Mapping[Any, Any]:
    """Return the innermost dictionary of tensors by name."""
    if not isinstance(found, Mapping):
        return {}
    for part in PARTS:
        if isinstance(found.get(part), Mapping) and (inner := _inside(found[part])):
            return inner
    return found if any(isinstance(value, Tensor) for value in found.values()) else {}


def _leading_to(tensors: dict[str, Tensor], own: set[str]) -> str | None:
    """Return the prefix after which most names are the model's; None unless half of them are."""
    found: Counter[str] = Counter()
    for key in tensors:
        parts = key.split(".")
        for depth in range(len(parts)):
            if ".".join(parts[depth:]) in own:
                found[".".join([*parts[:depth], ""]) if depth else ""] += 1
    if not found:
        return None
    # a model whose own child is called "model" keeps its names
    best = min(found, key=lambda prefix: (-found[prefix], len(prefix)))
    return best if 2 * found[best] >= len(own) else None


def _of_wrappers(tensors: dict[str, Tensor]) -> str:
    """Return the children of known wrappers in which most of the tensors lie."""
    prefix, names = "", list(tensors)
    while names:
        first, num = Counter(name.split(".")[0] for name in names).most_common(1)[0]
        if first not in CHILDREN or 2 * num <= len(names):
            break
        prefix += f"{first}."
        names = [n.removeprefix(f"{first}.") for n in names if n.startswith(f"{first}.")]
    return prefix
