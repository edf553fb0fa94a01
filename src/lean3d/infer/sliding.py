"""Predict a volume of any size window by window, in bounded memory.

Overlapping windows are blended with Gaussian weights, as in Isensee et al., nnU-Net, Nature
Methods 18, 2021.

Axes: C channels, K classes, D depth, H height, W width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lean3d.errors import RunError
from lean3d.optional import require
from lean3d.shape import Triple, check_axes

__all__ = [
    "Activation",
    "check_mirror",
    "check_windows",
    "evaluating",
    "logits_of",
    "mirrored",
    "mirrored_axes",
    "predict_slices",
    "predict_volume",
]

Activation = Literal["softmax", "sigmoid", "none"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits.softmax(1),
    "sigmoid": torch.sigmoid,
    "none": lambda logits: logits,
}


@torch.inference_mode()
def predict_volume(
    model: nn.Module,
    image_CDHW: Tensor,
    window: Triple,
    *,
    overlap: float = 0.5,
    batch_size: int = 1,
    device: torch.device | str | None = None,
    activation: Activation = "softmax",
    mirror: Sequence[int] = (),
) -> Tensor:
    """Return class probabilities (K, D, H, W) of a volume, on the CPU.

    Besides the volume and the probabilities, memory holds `batch_size` windows at a time. A volume
    smaller than the window is padded with its edge, as in training.

    Args:
        model: (B, C, d, h, w) -> logits (B, K, d, h, w); used in eval mode, then restored.
        overlap: Overlapping share of consecutive windows.
        device: Device of the computation; the model's own by default.
        activation: What turns logits into the values that are blended: "softmax" for classes,
            "sigmoid" for regions, labels that overlap and affinities, "none" for the outputs
            themselves.
        mirror: Spatial axes (0 D, 1 H, 2 W) along which windows are mirrored as well; the outputs
            of all combinations are averaged, so each axis doubles the time.
    """
    check_axes(image_CDHW, "C D H W", predict_volume)
    check_mirror(mirror)
    settings: dict[str, Any] = dict(overlap=overlap, batch_size=batch_size, device=device)
    settings |= dict(activation=activation, mirror=mirror)
    return _slide(model, image_CDHW.unsqueeze(0), window, **settings).squeeze(0)


@torch.inference_mode()
def predict_slices(
    model: nn.Module,
    image_CDHW: Tensor,
    window: tuple[int, int],
    *,
    axes: Sequence[int] = (0,),
    overlap: float = 0.5,
    batch_size: int = 8,
    device: torch.device | str | None = None,
    activation: Activation = "softmax",
    mirror: Sequence[int] = (),
) -> Tensor:
    """Return class probabilities (K, D, H, W) of a 2D model, slice by slice.

    Args:
        model: (B, C, h, w) -> logits (B, K, h, w).
        axes: Axes to cut across, 0 axial, 1 coronal, 2 sagittal; the outputs are averaged.
        activation, mirror: As `predict_volume` takes them; a slice is mirrored along its own axes.

    Raises:
        RunError: an axis is not 0, 1 or 2.
    """
    check_axes(image_CDHW, "C D H W", predict_slices)
    if not axes or not set(axes) <= {0, 1, 2}:
        raise RunError(f"predict_slices cuts across axes among 0, 1 and 2, got {tuple(axes)}")
    check_mirror(mirror)
    settings: dict[str, Any] = dict(overlap=overlap, batch_size=batch_size, device=device)
    settings |= dict(activation=activation)
    total = torch.zeros(())
    for axis in axes:
        slices_NCHW = image_CDHW.movedim(1 + axis, 0)
        plane = [other for other in range(3) if other != axis]
        own = [place for place, other in enumerate(plane) if other in mirror]
        scores = _slide(model, slices_NCHW, window, mirror=own, **settings)
        total = total + scores.movedim(0, 1 + axis)
    return total / len(axes)


def check_mirror(mirror: Sequence[int]) -> None:
    """Refuse axes that a volume does not have."""
    if not set(mirror) <= {0, 1, 2}:
        raise RunError(f"windows are mirrored along axes among 0, 1 and 2, got {tuple(mirror)}")


def mirrored_axes(mirror: Sequence[int]) -> list[list[int]]:
    """Return all combinations of spatial axes, as axes of a batch; the first one is empty."""
    some = sorted(set(mirror))
    chosen = [axes for num in range(1 + len(some)) for axes in combinations(some, num)]
    return [[2 + axis for axis in axes] for axes in chosen]


def mirrored(
    predict: Callable[[Tensor], Tensor], windows: Tensor, flips: Sequence[list[int]]
) -> Tensor:
    """Average the outputs for windows mirrored along each of `flips`, mirrored back."""
    total = predict(windows)
    for axes in flips[1:]:
        total = total + predict(windows.flip(axes)).flip(axes)
    return total / len(flips) if len(flips) > 1 else total


def check_windows(window: Sequence[int], axes: int, overlap: float, batch_size: int) -> None:
    """Refuse windows that cannot be slid along `axes` axes.

    Raises:
        RunError: a size below 1 or too few sizes, an overlap outside 0 to 1, or an empty batch.
    """
    if len(window) != axes or min(window) < 1:
        raise RunError(f"the window must have {axes} positive sizes, got {tuple(window)}")
    if not 0 <= overlap < 1:
        raise RunError(f"the overlap is a share from 0 up to, not including, 1; got {overlap}")
    if batch_size < 1:
        raise RunError(f"the batch size must be 1 window or more, got {batch_size}")


def _slide(model, x, window, *, overlap, batch_size, device, activation, mirror) -> Tensor:
    check_windows(window, x.ndim - 2, overlap, batch_size)
    if activation not in ACTIVATIONS:
        raise RunError(f"no activation called {activation!r}; there are {', '.join(ACTIVATIONS)}")
    activate = ACTIVATIONS[activation]
    flips = mirrored_axes(mirror)

    def outputs(windows: Tensor) -> Tensor:
        return mirrored(lambda x: activate(logits_of(model, x)), windows, flips)

    inferers = require("monai.inferers", extra="volume")
    device = device or next((p.device for p in model.parameters()), torch.device("cpu"))
    with evaluating(model.to(device)):
        return inferers.sliding_window_inference(
            # outputs are blended in the type of the volume
            x.cpu().to(torch.promote_types(x.dtype, torch.float32)),
            window,
            batch_size,
            outputs,
            overlap=overlap,
            mode="gaussian",
            padding_mode="replicate",
            sw_device=device,
            device="cpu",
        )


def logits_of(model: nn.Module, windows: Tensor) -> Tensor:
    """Run a model on windows in the precision of its weights; return its output in single.

    Raises:
        RunError: it returns no tensor.
    """
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()}
    # an optimized network may mix two, and takes single precision
    y = model(windows.to(dtypes.pop() if len(dtypes) == 1 else torch.float32))
    if not isinstance(y, Tensor):
        raise RunError(
            f"windows are blended for a model that returns one tensor, and {type(model).__name__} "
            f"returns {type(y).__name__}; wrap it in a module that returns one of its outputs"
        )
    return y.float()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set eval mode temporarily; restore the mode of every module afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
