"""The flag that says where to compute."""

import torch

from lean3d.errors import RunError

__all__ = ["find_device"]


def find_device(name: str | None) -> torch.device:
    """Return the requested device after a test computation on it."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device).item()
    # torch's error depends on its build: without CUDA it is an AssertionError
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).partition("\n")[0]
        raise RunError(f"cannot compute on --device {name}: {why}; leave it out, or cpu") from error
    return device
