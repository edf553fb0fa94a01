"""Write the weights of a command."""

import io
from pathlib import Path

import torch
from torch import nn

from lean3d.files import write_whole

__all__ = ["save_weights"]


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state_dict atomically."""
    # into memory first: on a full disk torch.save says only "unexpected pos"
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    with write_whole(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
