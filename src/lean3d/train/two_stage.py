"""Train a network of atoms on small clips in alternating stages, and use it on whole ones.

Paper: Miao et al., Spatiotemporal Joint Filter Decomposition in 3D Convolutional Neural Networks
(STDCF), NeurIPS 2021, Sec 2.2 and 2.3, Algorithm 1 (iterative two-stage learning)
Differs from the paper: no known differences; small frames are means over their pixels.

Axes: B batch, C channels, T time, H height, W width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.errors import RunError
from lean3d.ops import AtomConv3d

__all__ = ["Stage", "two_stage", "whole"]


@dataclass(frozen=True)
class Stage:
    """The clips and the trained atoms of a stage, and the dilation of its atoms.

    Coefficients and all other layers are trained in every stage.

    Args:
        name: "time", "space" or "whole".
        shrink: Spatial subsampling factor.
        skip: Temporal subsampling factor.
        space_dilation, time_dilation: Of the atoms, so that their extent on the video is constant.
        space_learns, time_learns: Whether the atoms of an axis are trained.
    """

    name: str
    shrink: int
    skip: int
    space_dilation: int
    time_dilation: int
    space_learns: bool
    time_learns: bool

    def clip(self, x_BCTHW: Tensor) -> Tensor:
        """Return the subsampled clip of this stage."""
        x_BCTHW = x_BCTHW[:, :, :: self.skip]
        if self.shrink == 1:
            return x_BCTHW
        frames, height, width = x_BCTHW.shape[2:]
        size = [frames, -(-height // self.shrink), -(-width // self.shrink)]
        return F.interpolate(x_BCTHW, size=size, mode="area")

    def enter(self, model: nn.Module) -> nn.Module:
        """Dilate the atoms of `model` and freeze those not trained in this stage; return the model.

        Raises:
            RunError: the model has no AtomConv3d.
        """
        layers = [module for module in model.modules() if isinstance(module, AtomConv3d)]
        if not layers:
            raise RunError(
                f"{type(model).__name__} has no AtomConv3d to train in stages; build it with "
                "conv=AtomConv3d or convert it with Atoms()"
            )
        for layer in layers:
            layer.dilate(space=self.space_dilation, time=self.time_dilation)
            layer.spatial_atoms.requires_grad_(self.space_learns)
            layer.temporal_atoms.requires_grad_(self.time_learns)
        return model


def two_stage(iterations: int = 3, *, space: int = 2, time: int = 2) -> Iterator[Stage]:
    """Alternates low-resolution full-rate stages with full-resolution subsampled ones.

    Args:
        iterations: E.
        space: Beta, the spatial subsampling factor of the first kind of stage.
        time: Gamma, the temporal subsampling factor of the second.
    """
    if min(iterations, space, time) < 1:
        raise RunError(
            f"two_stage counts from 1, got {iterations} iterations, space={space}, time={time}"
        )
    for _ in range(iterations):
        yield Stage("time", space, 1, 1, time, space_learns=False, time_learns=True)
        yield Stage("space", 1, time, space, 1, space_learns=True, time_learns=False)


def whole(*, space: int = 2, time: int = 2) -> Stage:
    """Whole clips for testing, all atoms dilated."""
    return Stage("whole", 1, 1, space, time, space_learns=True, time_learns=True)
