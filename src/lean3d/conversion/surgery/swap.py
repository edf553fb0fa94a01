"""Turn a module into another class in place.

The module stays the same object, so every reference to it (a second parent, a list outside the
module tree, a hook) stays valid, and its parameters, buffers, hooks and flags are unchanged.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Size, Tensor, nn
from torch.nn.utils import parametrize

from lean3d.conversion.to3d.base import Site, To3D

__all__ = ["Was", "become", "remember"]

STATE = set(vars(nn.Module()))  # parameters, buffers, hooks, training: the state that stays


@dataclass(frozen=True)
class Was:
    """The settings of a module before it became 3D that have changed.

    Args:
        settings: The settings that were replaced.
        added: Names of new settings.
        sizes: Of the parameters that were replaced; None for new ones.
        how: The method that made it 3D.
    """

    kind: type[nn.Module]
    settings: dict[str, Any]
    added: frozenset[str]
    sizes: dict[str, Size | None]
    how: To3D


def remember(
    module: nn.Module,
    settings: Iterable[str],
    parameters: Mapping[str, Tensor | None],
    site: Site,
) -> None:
    """Record on a module what is about to be replaced, so that it can be undone."""
    own = vars(module)
    sizes = {
        name: None if (old := getattr(module, name, None)) is None else old.shape
        for name, parameter in parameters.items()
        if not _holds(module, name, parameter)
    }
    names = set(settings)
    replaced = {name: own[name] for name in names & own.keys()}
    own["_was"] = Was(type(module), replaced, frozenset(names - own.keys()), sizes, site.how)


def become(module: nn.Module, template: nn.Module | type[nn.Module], site: Site) -> None:
    """Give `module` the class and settings of `template`.

    A parameter of the same name and shape stays the module's own; others come from `template`.
    """
    kind = template if isinstance(template, type) else type(template)
    settings: dict[str, Any] = {}
    if isinstance(template, nn.Module):
        settings = {name: value for name, value in vars(template).items() if name not in STATE}
    remember(module, settings, {} if isinstance(template, type) else template._parameters, site)
    if isinstance(template, nn.Module):
        assert not template._modules, f"{kind.__name__} would bring submodules"
        for name, parameter in template._parameters.items():
            if not _holds(module, name, parameter):
                _replace(module, name, parameter, site)
        vars(module).update(settings)
    module.__class__ = _parametrized(type(module), kind) if _has_code(module) else kind


def _holds(module: nn.Module, name: str, parameter: Tensor | None) -> bool:
    own = getattr(module, name, None)
    if own is None or parameter is None:
        return own is parameter
    return own.shape == parameter.shape


def _replace(module: nn.Module, name: str, parameter: Any, site: Site) -> None:
    if hasattr(module, name) and name not in module._parameters:
        raise site.refuse(
            module,
            f"its {name} is computed from other parameters (parametrization, weight norm, pruning) "
            f"and {type(site.how).__name__} changes its shape; make the {name} plain first",
        )
    module._parameters[name] = parameter


def _has_code(module: nn.Module) -> bool:
    return parametrize.is_parametrized(module)


def _parametrized(old: type, kind: type) -> type:
    """Apply the class torch.nn.utils.parametrize made for the 2D module to the 3D one."""
    computed = {name: value for name, value in vars(old).items() if name not in _OF_A_CLASS}
    return type(f"Parametrized{kind.__name__}", (kind,), computed)


_OF_A_CLASS = {"__dict__", "__weakref__", "__module__", "__doc__"}
