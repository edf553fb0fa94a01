"""Arguments for a 2D model at any image size: random, or from an example.

Axes: B batch, C channels, D depth, H height, W width.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, TypeGuard

import torch
from torch import Tensor, nn

from lean3d.errors import ConversionError
from lean3d.guesses import device_and_dtype, likely_channels, random_input

__all__ = ["COLOURS", "Maker", "as_channels", "is_image", "makers"]

Size = tuple[int, int]
Maker: TypeAlias = Callable[[Size], tuple[Any, ...]]

COLOURS = (3, 1)  # channels to try after those of the first layer
# unequal odd sides first; then what networks with skips and fixed sizes require
SIZES = [(33, 29), (37, 33), (49, 43), (69, 65), (97, 85), (129, 117), (225, 193), (48, 32)]
SIZES += [(96, 64), (128, 96), (192, 160), (256, 224), (28, 28), (32, 32), (64, 64), (224, 224)]
SIZES += [(256, 256), (299, 299)]


def makers(model: nn.Module, example: object = None) -> Iterator[tuple[Maker, list[Size]]]:
    """The arguments of a model, and the image sizes to try."""
    if example is not None:
        arguments = _flat(example if isinstance(example, tuple) else (example,))
        height, width = next(x for x in arguments if is_image(x)).shape[2:]
        own = (height, width)
        smaller = [size for size in SIZES if size[0] * size[1] <= own[0] * own[1]]
        larger = [size for size in SIZES if size not in smaller]
        yield _like(_as(arguments, model), own), [*smaller, own, *larger]
        return
    sizes = [*SIZES, *(size for size in _stated(model) if size not in SIZES)]
    for channels in likely_channels(model, *COLOURS):
        yield _random(channels, model), sizes


def _stated(model: nn.Module) -> list[Size]:
    """Return the image sizes that a model and its modules say they are made for.

    In `img_size`, as in timm, or `image_size`, as in torchvision: a number, or height and width;
    or as (C, H, W) in the settings of timm's weights.
    """
    given = [getattr(m, name, None) for m in model.modules() for name in ("img_size", "image_size")]
    settings = getattr(model, "pretrained_cfg", None)
    if isinstance(settings, dict):
        given.append((settings.get("input_size") or ())[-2:])
    pairs = [(size, size) if isinstance(size, int) else size for size in given]
    sizes = [tuple(p) for p in pairs if isinstance(p, tuple | list) and len(p) == 2]
    whole = [(h, w) for h, w in sizes if isinstance(h, int) and isinstance(w, int) and h * w > 0]
    return list(dict.fromkeys(whole))


def is_image(x: object) -> TypeGuard[Tensor]:
    return isinstance(x, Tensor) and x.ndim == 4


def as_channels(arguments: object, before: int, after: int) -> Any:
    """Return the arguments with images or volumes of `before` channels as gray ones of `after`."""
    if isinstance(arguments, tuple):
        return tuple(as_channels(x, before, after) for x in arguments)
    if not isinstance(arguments, Tensor) or arguments.ndim not in (4, 5):
        return arguments
    if arguments.shape[1] != before:
        return arguments
    gray = arguments.mean(1, keepdim=True)
    return gray.expand(-1, after, *gray.shape[2:]).contiguous()


def _random(channels: int, model: nn.Module) -> Maker:
    def make(size: Size) -> tuple[Tensor]:
        return (random_input(model, (2, channels, *size), draw=torch.float64),)

    return make


def _flat(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the middle slice of every volume, two of every batch."""
    flat = tuple(x[:, :, x.shape[2] // 2] if _has_depth(x) else x for x in arguments)
    if not any(is_image(x) for x in flat):
        shapes = [tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in arguments]
        raise ConversionError(
            f"example must hold a tensor (B, C, H, W) or (B, C, D, H, W), got {shapes}"
        )
    batches = {x.shape[:1] for x in flat if isinstance(x, Tensor)}
    return tuple(x[:2] if isinstance(x, Tensor) else x for x in flat) if len(batches) == 1 else flat


def _has_depth(x: object) -> bool:
    return isinstance(x, Tensor) and x.ndim == 5


def _as(arguments: tuple[Any, ...], model: nn.Module) -> tuple[Any, ...]:
    device, dtype = device_and_dtype(model, torch.float64)

    def move(x: object) -> Any:
        if not isinstance(x, Tensor):
            return x
        return x.detach().to(device, dtype) if x.is_floating_point() else x.to(device)

    return tuple(map(move, arguments))


def _like(arguments: tuple[Any, ...], own: Size) -> Maker:
    def resize(x: Tensor, size: Size) -> Tensor:
        """Tile or crop to `size`, or by the image's share of the first image's size."""
        sides = [
            max(1, round(new * side / old))
            for new, side, old in zip(size, x.shape[2:], own, strict=True)
        ]
        times = [-(-new // side) for new, side in zip(sides, x.shape[2:], strict=True)]
        return x.repeat(1, 1, *times)[:, :, : sides[0], : sides[1]]

    return lambda size: tuple(resize(x, size) if is_image(x) else x for x in arguments)
