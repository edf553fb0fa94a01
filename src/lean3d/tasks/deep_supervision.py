"""Learn from coarser maps of a network's decoder too, through heads that exist in training alone.

Lee et al., Deeply-Supervised Nets, AISTATS 2015; as nnU-Net does it (Isensee et al., Nature Methods
18, 2021): each coarser resolution has half the weight of the one before. Differs from nnU-Net: the
heads are outside of the network and on any network, found by a pass without values.

Axes: B batch, C channels, K outputs, then D H W for volumes or H W for images.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.cost.meta import meta_copy, meta_inputs
from lean3d.errors import RunError

__all__ = ["DeepSupervision"]

KERNELS: dict[int, Any] = {4: nn.Conv2d, 5: nn.Conv3d}
# module, size and channels of each map that a forward makes, in their order
Maps = list[tuple[str, tuple[int, ...], int]]


class DeepSupervision(nn.Module):
    """Heads of a kernel of 1 on the last maps of the decoder at coarser resolutions.

    Args:
        model: (B, C, ...) -> (B, K, ...).
        num_outputs: K.
        input_shape: Of a sample with its batch, (1, C, ...).
        levels: How many coarser resolutions, from the finest of them on.

    Raises:
        RunError: the decoder has fewer maps of coarser resolutions.
    """

    def __init__(self, model: nn.Module, num_outputs: int, input_shape: Sequence[int], levels: int):
        super().__init__()
        known = _decoder(_maps(model, tuple(input_shape)), tuple(input_shape)[2:])
        if levels > len(known):
            raise RunError(_too_many(levels, type(model).__name__, [size for _, size, _ in known]))
        chosen = known[:levels]
        self.paths = [path for path, _, _ in chosen]
        kind = KERNELS[len(input_shape)]
        self.heads = nn.ModuleList(kind(channels, num_outputs, 1) for _, _, channels in chosen)

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[list[Tensor]]:
        """Collect the outputs of the heads while the model runs, from fine to coarse."""
        found: dict[str, Tensor] = {}
        outputs: list[Tensor] = []
        hooks = [
            model.get_submodule(path).register_forward_hook(_keep(found, path))
            for path in self.paths
        ]
        try:
            yield outputs
            outputs += [
                head(found[path]) for path, head in zip(self.paths, self.heads, strict=True)
            ]
        finally:
            for hook in hooks:
                hook.remove()

    @staticmethod
    def loss(
        loss: Callable[[Tensor, Tensor], Tensor], outputs: Sequence[Tensor], label: Tensor
    ) -> Tensor:
        """Return the mean of the losses, each coarser one with half the weight of the one before.

        Args:
            outputs: (B, K, ...), from fine to coarse.
            label: (B, ...) classes, taken at the nearest voxel.
        """
        total: Tensor | None = None
        weights = [0.5**level for level in range(len(outputs))]
        for weight, logits in zip(weights, outputs, strict=True):
            own = label
            if logits.shape[2:] != label.shape[1:]:
                # float32 holds the classes, at most 256, exactly
                small = F.interpolate(label[:, None].float(), list(logits.shape[2:]))
                own = small[:, 0].to(label.dtype)
            term = weight / sum(weights) * loss(logits, own)
            total = term if total is None else total + term
        assert total is not None
        return total


def _too_many(levels: int, network: str, sizes: Sequence[Sequence[int]]) -> str:
    if not sizes:
        return (
            f"deep_supervision {levels}: {network} has no decoder with maps between its coarsest "
            "one and its output, from which coarser classes could be learnt; leave it out, or give "
            "a decoder of more stages, such as unet3d with three --widths"
        )
    listed = ", ".join(" x ".join(map(str, size)) for size in sizes)
    return (
        f"deep_supervision {levels}: the decoder of {network} has {len(sizes)} coarser map(s) than "
        f"its output ({listed}); give at most {len(sizes)}"
    )


def _keep(found: dict[str, Tensor], path: str) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        found[path] = output

    return hook


def _maps(model: nn.Module, input_shape: tuple[int, ...]) -> Maps:
    """Run a copy without values, and list every map that a module returns."""
    light = meta_copy(model)
    maps: Maps = []

    def listen(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == len(input_shape):
                maps.append((path, tuple(output.shape[2:]), output.shape[1]))

        return hook

    for path, module in light.named_modules():
        if path:
            module.register_forward_hook(listen(path))
    with torch.no_grad():
        light(*meta_inputs(light, (input_shape,)))
    return maps


def _decoder(maps: Maps, size: tuple[int, ...]) -> Maps:
    """Return the last map of each resolution after the coarsest one, from fine to coarse."""
    areas = [torch.Size(found).numel() for _, found, _ in maps]
    if not areas:
        return []
    # means over the whole map, as of attention, are no resolution
    spatial = [area for area, (_, found, _) in zip(areas, maps, strict=True) if max(found) > 1]
    last = max(place for place, area in enumerate(areas) if area == min(spatial))
    whole = torch.Size(size).numel()
    found: dict[tuple[int, ...], tuple[str, tuple[int, ...], int]] = {}
    for one, area in zip(maps[last + 1 :], areas[last + 1 :], strict=True):
        if min(spatial) < area < whole:
            found[one[1]] = one
    return sorted(found.values(), key=lambda one: -torch.Size(one[1]).numel())
