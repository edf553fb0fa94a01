"""Registry of the rules that convert modules, and the check for modules that must have one."""

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import nn
from torch.nn.utils import parametrize

from lean3d.conversion.to3d.base import Converted, Site

__all__ = ["Rule", "computes_as", "find_rule", "module_rule"]

# a rule returns the new class, or a new module on the meta device as a template
Rule: TypeAlias = Callable[[Any, Site], nn.Module | Converted | type[nn.Module]]

_RULES: dict[tuple[type, type | str], Rule] = {}
FLAT_NAMES = {"Fold", "Unfold", "PixelShuffle", "PixelUnshuffle"}
# methods a subclass may define and still compute what its base computes
HARMLESS = {
    "__init__",
    "__module__",
    "__doc__",
    "__qualname__",
    "__annotations__",
    "__parameters__",
}
HARMLESS |= {"__annotate_func__", "__annotations_cache__", "__firstlineno__"}
HARMLESS |= {"__static_attributes__", "__constants__", "__repr__", "extra_repr", "reset_parameters"}


def module_rule(how: type, *sources: type[nn.Module] | str) -> Callable[[Rule], Rule]:
    """Decorate the rule of some kinds of module: it returns their 3D form.

    The rule is given the 2D module and its `Site`, and returns the 3D class, a 3D module on the
    meta device, or either in a `Converted`. It may be in another package, see `lean3d.plugins`.

    A rule for a base class of `how` holds for its subclasses without a rule of their own.

    Args:
        how: `To3D` for every method, or one method.
        sources: Classes, or the full names of classes of packages that need not be installed.
    """

    def register(rewrite: Rule) -> Rule:
        for source in sources:
            if (how, source) in _RULES:
                raise ValueError(f"{how.__name__} already has a rule for {source}")
            _RULES[how, source] = rewrite
        return rewrite

    return register


def find_rule(module: nn.Module, site: Site) -> Rule | None:
    """Return the rule for this module, None if it has none.

    A module with code of its own has none: its own forward runs, and is checked.

    Raises:
        ConversionError: the module is one of torch's that are 2D only, and no rule covers it.
    """
    kind = computes_as(parametrize.type_before_parametrizations(module))
    for how in type(site.how).__mro__:
        for name in (kind, f"{kind.__module__}.{kind.__qualname__}"):
            if (how, name) in _RULES:
                return _RULES[how, name]
    if _is_flat(kind):
        leave = ", or leave it out with where= and put a 3D module in its place"
        raise site.refuse(
            module,
            f"there is no 3D rule for nn.{kind.__name__}; write one with "
            f"lean3d.conversion.module_rule{leave if site.path else ''}",
        )
    return None


def computes_as(kind: type) -> type:
    """Return the base of subclasses that compute what their base computes."""
    while not _is_flat(kind) and len(kind.__bases__) == 1 and vars(kind).keys() <= HARMLESS:
        kind = kind.__bases__[0]
    return kind


def _is_flat(kind: type) -> bool:
    is_2d = kind.__name__.endswith("2d") or kind.__name__ in FLAT_NAMES
    return is_2d and kind.__module__.startswith("torch.")
