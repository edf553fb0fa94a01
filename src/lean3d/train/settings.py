"""How a run trains, in names that are checked before Lightning is imported."""

from typing import Literal, get_args

from lean3d.errors import RunError
from lean3d.optional import require

__all__ = ["LoggerName", "Strategy", "check_logger", "check_strategy"]

LoggerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]
Strategy = Literal["ddp", "fsdp"]


def check_logger(name: str) -> None:
    """Refuse a logger that there is not, or whose package is missing.

    Raises:
        RunError: there is no logger of this name.
        MissingExtraError: its package is not installed.
    """
    if name not in get_args(LoggerName):
        *rest, last = get_args(LoggerName)
        raise RunError(f"no logger called {name!r}; there are {', '.join(rest)} and {last}")
    require(name, extra="train" if name == "tensorboard" else name)


def check_strategy(strategy: str, precision: str = "32") -> None:
    """Refuse a strategy that does not exist, or not in this precision.

    Raises:
        RunError: there is none of this name, or it cannot scale losses.
    """
    if strategy not in ("ddp", "fsdp"):
        raise RunError(f"no strategy called {strategy!r}; there are ddp and fsdp")
    if strategy == "fsdp" and precision == "16-mixed":
        raise RunError("strategy fsdp trains in precision 32 or bf16-mixed, not in 16-mixed")
