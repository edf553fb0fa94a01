"""Where a 3D network looks: Grad-CAM of a class, and the strength of feature maps.

- Grad-CAM (Selvaraju et al., arXiv:1610.02391; STDCF Fig 7): the maps of a layer, weighted by the
  mean gradient of the score of a class; evidence against the class is left out.
- features (STDCF Fig 6): the sum of a layer's maps over its channels.

Axes: B batch, C channels, K classes, T time or depth, H height, W width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.optional import require
from lean3d.tracer import Args, Kwargs, Watch

__all__ = ["class_attention", "feature_attention", "find_layer"]


class _Outputs(Watch):
    """The sizes of the maps that modules return, in the order in which they return."""

    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.maps: list[tuple[str, torch.Size]] = []
        self.runs: dict[str, int] = {}

    def left(self, path: str, args: Args, kwargs: Kwargs, output: object) -> None:
        self.runs[path] = self.runs.get(path, 0) + 1
        if path and isinstance(output, Tensor) and output.ndim == 5:
            self.maps.append((path, output.shape))


@torch.no_grad()
def find_layer(
    model: nn.Module, x_BCTHW: Tensor, layer: str | None = None, *, inside: str = ""
) -> str:
    """Return the path of the last layer whose maps are smallest, but wider than a voxel.

    It must run once, since a layer that is shared has no map of its own.

    Args:
        layer: A path, which is checked instead.
        inside: The path of the network within `model`, with a point: `layer`, and the paths in a
            message, are those within the network.

    Raises:
        LeanError: there is no such layer.
    """
    watch = _Outputs(model)
    watch.see(lambda: model(x_BCTHW))
    sizes = {path: size for path, size in watch.maps if watch.runs[path] == 1}
    if layer is not None:
        path = inside + layer
        if path not in sizes:
            own = [name.removeprefix(inside) for name in sizes if name.startswith(inside)]
            why = "runs more than once" if path in watch.runs else "is not there"
            why = "returns no map" if watch.runs.get(path) == 1 else why
            some = ", ".join(own[-4:])
            raise LeanError(f"the layer {layer!r} {why}; the last ones with a map are {some}")
        return path
    # what was averaged over the plane shows no place
    voxels = {path: size[2:].numel() for path, size in sizes.items() if size[3:].numel() > 1}
    if not voxels:
        raise LeanError("the network has no layer with a map (B, C, T, H, W) that runs once")
    least = min(voxels.values())
    return [path for path, number in voxels.items() if number == least][-1]


def class_attention(model: nn.Module, x_BCTHW: Tensor, layer: str, target: int) -> Tensor:
    """Return the Grad-CAM of a class, from 0 to 1, at the size of the input.

    Args:
        model: Gives scores (B, K), or (B, K, T, H, W), which are summed over all voxels; its
            activations no longer work in place afterwards.
        layer: As `find_layer` returns it.
        target: Number of the class.

    Shape: (B, C, T, H, W) -> (B, T, H, W), on the CPU.
    """
    cam = require("monai.visualize", extra="volume").GradCAM
    for module in model.modules():
        # a map that is changed in place has no gradient
        if getattr(module, "inplace", False):
            setattr(module, "inplace", False)  # noqa: B010
    for weight in model.parameters():
        weight.requires_grad_(weight.is_floating_point())
    watched: Any = cam(nn_module=model, target_layers=layer, postprocessing=_scaled)
    with torch.enable_grad():
        return watched(x_BCTHW, class_idx=target)[:, 0].detach().float().cpu()


@torch.no_grad()
def feature_attention(model: nn.Module, x_BCTHW: Tensor, layer: str) -> Tensor:
    """Return the sum of a layer's maps, of their sizes, from 0 to 1, at the size of the input.

    Shape: (B, C, T, H, W) -> (B, T, H, W), on the CPU.
    """
    found: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *call: found.append(call[2]))
    try:
        model(x_BCTHW)
    finally:
        handle.remove()
    strength = found[0].abs().sum(1, keepdim=True).float()
    size = x_BCTHW.shape[2:]
    resized = F.interpolate(strength, size=size, mode="trilinear", align_corners=False)
    return _scaled(resized)[:, 0].cpu()


def _scaled(map_B1THW: Any) -> Tensor:
    """Scale maps to at most 1; what is below 0 is 0."""
    x = torch.as_tensor(map_B1THW).clamp(min=0)
    most = x.flatten(1).amax(1).view(-1, 1, 1, 1, 1)
    return x / most.clamp(min=torch.finfo(x.dtype).tiny)
