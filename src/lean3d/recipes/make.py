"""A registered model from the arguments of a recipe or of the command line."""

from typing import Any

from torch import nn

from lean3d.errors import LeanError, RunError
from lean3d.models import create_model

__all__ = ["make_model"]


def make_model(name: str, arguments: dict[str, Any]) -> nn.Module:
    """A registered model; an argument that is None is left to the model's own default."""
    given = {key: value for key, value in arguments.items() if value is not None}
    try:
        return create_model(name, **given)
    except LeanError:
        raise
    except (TypeError, ValueError) as error:
        raise RunError(f"cannot build {name}: {error}") from error
