"""A network of the user's: "package.module:function" or "file.py:function"."""

import copy
import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from torch import nn

from lean3d.errors import LeanError, RunError
from lean3d.networks.source import Asked, nearest, refuse_weights

__all__ = ["located", "own_network"]

# names under which a function may take what every network needs
IN_CHANNELS = "in_channels", "in_chans", "input_channels", "n_channels"
NUM_CLASSES = "num_classes", "n_classes", "classes", "out_channels", "out_chans"
PLACES = ("stdlib", "platstdlib", "purelib", "platlib")


def own_network(asked: Asked) -> tuple[nn.Module, set[str]]:
    """Call the function, or the class, with those arguments that it takes; or copy the module."""
    where, _, name = asked.name.rpartition(":")
    module = _file(where) if where.endswith(".py") else _module(where)
    made = getattr(module, name, None)
    if made is None:
        makers = [n for n, thing in vars(module).items() if callable(thing) and n[0] != "_"]
        raise nearest(f"function of {where}", name, makers)
    if isinstance(made, nn.Module):
        return copy.deepcopy(made), set()
    _check_maker(made, asked.reference)
    given, ends = _arguments(made, asked)
    model = made(**given)
    if not isinstance(model, nn.Module):
        raise RunError(f"{asked.reference} returned {type(model).__name__} and not an nn.Module")
    return model, ends


def located(reference: str) -> str:
    """Return a reference whose file, if it names one, has its whole path."""
    where, colon, name = reference.rpartition(":")
    if where == "nnunet":
        return f"{where}{colon}{Path(name).expanduser().resolve()}"
    if not where.endswith(".py"):
        return reference
    return f"{Path(where).expanduser().resolve()}{colon}{name}"


def _arguments(made: Any, asked: Asked) -> tuple[dict[str, Any], set[str]]:
    takes = inspect.signature(made).parameters
    given, ends = dict(asked.options), set()
    for end, value, names in (
        ("in_channels", asked.in_channels, IN_CHANNELS),
        ("num_classes", asked.num_classes, NUM_CLASSES),
    ):
        name = next((name for name in names if name in takes), None)
        if name is not None and (value is not None or name in given):
            given.setdefault(name, value)
            ends.add(end)
    if asked.weights is not None:
        name = next((name for name in ("weights", "pretrained") if name in takes), None)
        if name is None:
            raise refuse_weights(asked, "the function takes no weights; give a file, or None")
        given[name] = asked.weights
    open_ended = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    for name in given.keys() - takes.keys() if not open_ended else ():
        raise nearest(f"argument of {asked.reference}", name, takes)
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    needed = [p.name for p in takes.values() if p.default is p.empty and p.kind in kinds]
    if missing := [name for name in needed if name not in given]:
        raise RunError(
            f"{asked.reference} needs {', '.join(missing)}; give it as an option, "
            f"{missing[0]}=value"
        )
    return given, ends


def _file(where: str) -> ModuleType:
    path = Path(where).expanduser().resolve()
    if not path.is_file():
        raise RunError(f"there is no file {where} to build the network from")
    # the name of a module of its own, so that classes of it can be pickled
    name = f"lean3d_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _broken(where, error) from error
    return module


def _module(where: str) -> ModuleType:
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name and where.startswith(error.name):
            raise RunError(
                f"no module called {where!r}; give its file, path/to/file.py:function, or put its "
                "folder on PYTHONPATH"
            ) from error
        raise _broken(where, error) from error
    except Exception as error:
        raise _broken(where, error) from error


def _broken(where: str, error: Exception) -> LeanError:
    line = (str(error) or "no more is known").splitlines()[0]
    return RunError(f"{where} cannot be imported: {type(error).__name__}: {line}")


def _check_maker(made: object, reference: str) -> None:
    """Refuse what does not build a network: a run's recipe.json may name any function."""
    if inspect.isclass(made) and issubclass(made, nn.Module):
        return
    if inspect.isfunction(made):
        if not _is_of_a_library(made):
            return
        try:
            returned = get_type_hints(made).get("return")
        except Exception:  # names that exist for type checkers alone
            returned = None
        if inspect.isclass(returned) and issubclass(returned, nn.Module):
            return
    raise RunError(
        f"{reference} is not a function of yours and does not declare that it returns an "
        "nn.Module; name one that does, or write one in a file of yours"
    )


def _is_of_a_library(made: Any) -> bool:
    path = Path(inspect.unwrap(made).__code__.co_filename).resolve()
    folders = [Path(sysconfig.get_path(place)).resolve() for place in PLACES]
    libraries = any(folder in path.parents for folder in folders)
    return libraries or not path.is_file()
