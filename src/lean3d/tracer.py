"""Record a run of a model: its modules and functions, and which module's own forward calls each.

Analyses subclass `Watch` and say what to do at each event.
"""

import sys
from collections.abc import Callable
from threading import get_ident
from typing import Any, TypeAlias

from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["Args", "Function", "Kwargs", "Watch"]

Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = dict[str, Any]
Function: TypeAlias = Callable[..., Any]


class Watch(TorchFunctionMode):
    """Calls a method at every event of a run; a subclass overrides those it needs.

    The hooks are on the modules themselves; calls of other threads meanwhile are no events.

    Args:
        paths: The modules to watch; all by default.
    """

    def __init__(self, model: nn.Module, paths: set[str] | None = None):
        super().__init__()
        self.modules = dict(model.named_modules())
        self.paths = self.modules.keys() if paths is None else paths
        self.stack: list[str] = []  # modules whose forwards are running, innermost last
        self.paused = False  # while an event is handled
        self.failed = ""  # the innermost module that was running when the model failed
        self.thread = get_ident()
        self.looks = type(self).called is not Watch.called or type(self).calls is not Watch.calls

    def see(self, run: Callable[[], Any]) -> Any:
        """Return what `run` returns, which calls the model."""
        self.stack, self.failed, self.paused, self.thread = [], "", False, get_ident()
        outside, handles = sys.exc_info()[1], []
        for path in self.paths:
            module = self.modules[path]
            enter, leave = self._enter(path), self._leave(path, outside)
            # before the hooks that the module has, whose time and functions are its own
            handles.append(module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True))
            handles.append(module.register_forward_hook(leave, with_kwargs=True, always_call=True))
        try:
            if not self.looks:
                return run()
            with self:
                return run()
        finally:
            for handle in handles:
                handle.remove()

    def _watches(self, path: str, module: nn.Module) -> bool:
        # a shallow copy of a module has the same hooks
        return module is self.modules[path] and get_ident() == self.thread

    def _enter(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Args, kwargs: Kwargs) -> None:
            if not self._watches(path, module):
                return
            self.paused = True
            self.entered(path, args, kwargs)
            self.paused = False
            self.stack.append(path)

        return hook

    def _leave(self, path: str, outside: BaseException | None) -> Callable[..., None]:
        def hook(module: nn.Module, args: Args, kwargs: Kwargs, output: object) -> None:
            if not self._watches(path, module):
                return
            if self.stack and self.stack[-1] == path:  # not where `entered` raised an error
                self.stack.pop()
            if sys.exc_info()[1] is not outside:  # called although the forward raised an error
                self.failed = self.failed or path
                return
            self.failed, self.paused = "", True
            self.left(path, args, kwargs, output)
            self.paused = False

        return hook

    def __torch_function__(
        self, function: Function, types: object, args: Args = (), kwargs: Kwargs | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.paused or not self.stack:
            return function(*args, **kwargs)
        before = self.calls(self.stack[-1], function, args, kwargs)
        result = function(*args, **kwargs)
        self.called(self.stack[-1], function, args, kwargs, result, before)
        return result

    def entered(self, path: str, args: Args, kwargs: Kwargs) -> None:
        """Called before the module at `path` runs; the innermost of `stack` calls it."""

    def left(self, path: str, args: Args, kwargs: Kwargs, output: Any) -> None:
        """Called after the module at `path` has run."""

    def calls(self, path: str, function: Function, args: Args, kwargs: Kwargs) -> Any:
        """Called before the forward of the module at `path` calls a function."""

    def called(
        self,
        path: str,
        function: Function,
        args: Args,
        kwargs: Kwargs,
        result: Any,
        before: Any,
    ) -> None:
        """Called after it; `before` is what `calls` returned."""
