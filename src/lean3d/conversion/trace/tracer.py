"""Record a run of a model: each function, and the module whose own forward calls it."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["Watch"]


class Watch(TorchFunctionMode):
    """Calls `called` after every function; a subclass decides what to record."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.stack: list[str] = []  # modules whose forwards are running, innermost last
        self.handles: list[Any] = []
        for path, module in model.named_modules():
            self.handles.append(module.register_forward_pre_hook(self._enter(path)))
            self.handles.append(module.register_forward_hook(self._leave, always_call=True))

    def see(self, run: Callable[[], Any]) -> Any:
        try:
            with self:
                return run()
        finally:
            for handle in self.handles:
                handle.remove()

    def _enter(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            if not self.stack:
                self.started(inputs)
            self.stack.append(path)

        return hook

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.stack.pop()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if self.stack:
            self.called(self.stack[-1], function, args, kwargs, result)
        return result

    def started(self, inputs: Any) -> None:
        """Called before the model runs, with its arguments."""

    def called(self, path: str, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Called when the forward of the module at `path` has called a function."""
