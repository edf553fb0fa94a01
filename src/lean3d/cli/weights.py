"""Weights in files, as torch.save writes a state_dict."""

import io
from pathlib import Path

import torch
from torch import nn

from lean3d.errors import RunError
from lean3d.files import write_whole

__all__ = ["load_weights", "save_weights"]


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the model's state_dict, whole or not at all."""
    # into memory first: on a full disk torch.save says only "unexpected pos"
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    with write_whole(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_weights(model: nn.Module, path: Path) -> None:
    """Read the state_dict of this very model, in place.

    Raises:
        RunError: the file is absent, damaged or of another model.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the damaged bytes lead it to
        why = str(error) or type(error).__name__
        raise RunError(f"cannot read weights from {path}: {why}") from error
    if not isinstance(weights, dict):
        raise RunError(f"{path} holds a {type(weights).__name__}; a state_dict was expected")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"{path} does not fit the model: {error}") from error
