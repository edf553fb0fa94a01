"""Parts that are found by name: those of lean3d, and those that other packages add.

Another package registers its parts with the decorators that lean3d's own files use, and names the
modules that do so under the entry points "lean3d.plugins":

    [project.entry-points."lean3d.plugins"]
    mine = "my_package.lean3d_parts"

They are imported once, when a part is first looked up.
"""

import difflib
import threading
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from typing import TypeVar

from lean3d.errors import RunError

__all__ = ["GROUP", "Registry", "load_plugins"]

GROUP = "lean3d.plugins"

Part = TypeVar("Part")


class _Once:
    """Imports the plug-ins once in a process; an error is raised again at every lookup."""

    def __init__(self) -> None:
        self.lock, self.done, self.running = threading.RLock(), False, False
        self.error: RunError | None = None

    def load(self) -> None:
        with self.lock:
            if self.done or self.running:  # a plug-in may look parts up itself
                return
            self.running = True
            try:
                for point in entry_points(group=GROUP):
                    self.error = self.error or _failure(point)
            finally:
                self.running = False
            self.done = True


_ONCE = _Once()


def load_plugins() -> None:
    """Import the modules that installed packages name under the entry points "lean3d.plugins".

    Raises:
        RunError: one of them cannot be imported; names it and its package.
    """
    if not _ONCE.done:
        _ONCE.load()
    if _ONCE.error is not None:
        raise _ONCE.error


def _failure(point: EntryPoint) -> RunError | None:
    try:
        point.load()
    except Exception as error:  # another package's code may raise anything
        package = "its package" if point.dist is None else point.dist.name
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        return RunError(
            f"the plug-in {point.name} ({point.value}) of {package} cannot be loaded ({why}); "
            f"repair or uninstall {package}"
        )
    return None


class Registry(Mapping[str, Part]):
    """Parts by their names, in the order in which they were registered.

    Args:
        what: The name of one part in messages, such as "recipe".
        packages: Packages whose modules register parts; all are imported at the first lookup.
    """

    def __init__(self, what: str, *packages: str):
        self.what, self.packages = what, packages
        self.parts: dict[str, Part] = {}
        self._lock, self._loaded, self._loading = threading.RLock(), False, False

    def add(self, name: str, part: Part) -> None:
        """Register a part.

        Raises:
            ValueError: there is one of this name.
        """
        if name in self.parts:
            raise ValueError(f"{self.what} {name!r} is registered twice")
        self.parts[name] = part

    def find(self, name: str) -> Part:
        """Return the part of that name.

        Raises:
            RunError: there is none; the message gives the nearest names, or all.
        """
        if name not in self:
            near = difflib.get_close_matches(name, self, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(self)}"
            raise RunError(f"no {self.what} called {name!r}; {hint}")
        return self[name]

    def __getitem__(self, name: str) -> Part:
        self._load()
        return self.parts[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self.parts)

    def __len__(self) -> int:
        self._load()
        return len(self.parts)

    def _load(self) -> None:
        if not self._loaded:
            with self._lock:
                self._import()
        load_plugins()

    def _import(self) -> None:
        if self._loaded or self._loading:  # a module may look parts up while it is imported
            return
        self._loading = True
        try:
            for package in map(import_module, self.packages):
                for module in iter_modules(package.__path__):
                    import_module(f"{package.__name__}.{module.name}")
            self._loaded = True
        finally:
            self._loading = False
