"""The places that a recipe names, as whole paths: a run is used from other folders than its own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lean3d.data.formats.registry import split
from lean3d.data.named import split_name
from lean3d.errors import RunError
from lean3d.networks.network import is_file
from lean3d.networks.own import located
from lean3d.recipes.affinity import AffinityRecipe
from lean3d.recipes.base import Recipe

__all__ = ["check_there", "is_there", "same_data", "with_whole_paths"]

# data that no folder has
DRAWN = frozenset(("", "digits", "mni152", "neurites", "shapes2d", "shapes3d"))


def with_whole_paths(recipe: Recipe) -> Recipe:
    """Return a recipe in which every file and folder that is there has its whole path."""
    files: dict[str, Any] = {}
    for name in ("labels", "teacher", "start_from"):
        if (value := getattr(recipe, name, None)) is not None:
            files[name] = _whole_file(value)
    if recipe.weights is not None and is_file(recipe.weights):
        files["weights"] = _whole_file(recipe.weights)
    if (cache := getattr(recipe, "cache", None)) is not None:
        files["cache"] = _whole(cache)
    alone = isinstance(recipe, AffinityRecipe) and recipe.labels is not None
    alone = alone and recipe.data not in DRAWN
    data = _whole_file(recipe.data) if alone else _whole_data(recipe.data)
    return replace(recipe, model=located(recipe.model), data=data, **files)


def same_data(data: str, own: str) -> bool:
    """Whether two references, to data of one kind, are the same data."""
    return data == own or _resolved(data) == _resolved(own)


def is_there(data: str) -> bool:
    """Whether the folder or file of the data exists, or they are drawn."""
    name, place = _parts(data)
    return data in DRAWN or (place if name else split(place)[0]).exists()


def check_there(recipe: Recipe, run: Path) -> None:
    """Refuse the run's own data where they were moved.

    Raises:
        RunError: they are not where they were when the run was made.
    """
    if not is_there(recipe.data):
        raise RunError(
            f"the data of {run}, {recipe.data}, are not there; pass --data with where they are now"
        )


def _parts(data: str) -> tuple[str, Path]:
    """Split NAME:DIR; a folder alone has no name."""
    name, place = split_name(data)
    return (name, Path(place).expanduser()) if place else ("", Path(data).expanduser())


def _resolved(data: str) -> tuple[str, str]:
    name, path = _parts(data)
    drawn = not name and data in DRAWN
    return name.removesuffix("folder"), data if drawn else str(path.resolve())


def _whole_data(data: str) -> str:
    name, path = _parts(data)
    if data in DRAWN or not path.exists():
        return data
    return f"{name}:{_whole(path)}" if name else _whole(path)


def _whole_file(value: str) -> str:
    """Return a file or folder, or a part of a file such as file.h5:raw, with its whole path."""
    path = Path(value).expanduser()
    return _whole(path) if split(path)[0].exists() else value


def _whole(path: str | Path) -> str:
    path = Path(path).expanduser()
    # a link stays one, unless .. follows, which is not of the folder that the link is in
    return str(path.resolve() if ".." in path.parts else path.absolute())
