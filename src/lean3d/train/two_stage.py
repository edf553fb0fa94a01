"""Train a network on small clips in alternating stages, and use it on whole ones.

Paper: Miao et al., Spatiotemporal Joint Filter Decomposition in 3D Convolutional Neural Networks
(STDCF), NeurIPS 2021, Sec 2.2 and 2.3, Algorithm 1 (iterative two-stage learning); Sec 3.1 for
regular and rank-1 kernels, which are compared with it
Differs from the paper: no known differences; small frames are means over their pixels.

Axes: B batch, C channels, T time, H height, W width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.errors import LeanError, RunError
from lean3d.ops import AtomConv3d
from lean3d.ops.dilation import dilate, is_plain

__all__ = ["Stage", "two_stage", "whole"]


@dataclass(frozen=True)
class Stage:
    """The clips and the trained kernels of a stage, and the dilation of its kernels.

    In a network of atoms these are the atoms. In any other they are the kernels of nn.Conv3d, also
    within an operator, by their extent: (1, k, k) is of space, (t, 1, 1) of time, and (t, k, k) of
    both, which every stage trains. Coefficients and all other parameters are trained in every
    stage.

    Args:
        name: "time", "space" or "whole".
        shrink: Spatial subsampling factor.
        skip: Temporal subsampling factor.
        space_dilation, time_dilation: Of the kernels, so that their extent on the video is
            constant.
        space_learns, time_learns: Whether the kernels of an axis are trained.
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
        """Dilate the kernels of `model` and freeze those not trained in this stage; return it.

        Raises:
            RunError: the model has kernels that cannot be dilated, or none.
        """
        atoms = [module for module in model.modules() if isinstance(module, AtomConv3d)]
        for layer in atoms:
            layer.dilate(space=self.space_dilation, time=self.time_dilation)
            layer.spatial_atoms.requires_grad_(self.space_learns)
            layer.temporal_atoms.requires_grad_(self.time_learns)
        if not atoms:
            for conv in _kernels(model):
                self._enter(conv)
        return model

    def _enter(self, conv: nn.Conv3d) -> None:
        try:
            dilate(conv, space=self.space_dilation, time=self.time_dilation)
        except LeanError as error:
            raise RunError(f"cannot train in stages: {error}") from error
        time, height, width = conv.kernel_size
        of_time, of_space = time > 1, height > 1 or width > 1
        learns = (of_time and self.time_learns) or (of_space and self.space_learns)
        conv.weight.requires_grad_(learns)


def _kernels(model: nn.Module) -> list[nn.Conv3d]:
    """The convolutions whose kernels have any extent."""
    wide = [m for m in model.modules() if isinstance(m, nn.Conv3d) and max(m.kernel_size) > 1]
    other = next((module for module in wide if not is_plain(module)), None)
    if other is not None:
        raise RunError(
            f"{type(other).__name__} cannot be dilated to train in stages; use nn.Conv3d, "
            "SpaceTimeConv3d or AtomConv3d (conv=), or convert with Atoms()"
        )
    if not wide:
        raise RunError(
            f"{type(model).__name__} has no 3D kernel to train in stages; two-stage learning is "
            "for networks of nn.Conv3d, SpaceTimeConv3d or AtomConv3d"
        )
    return wide


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
    """Whole clips for testing, all kernels dilated."""
    return Stage("whole", 1, 1, space, time, space_learns=True, time_learns=True)
