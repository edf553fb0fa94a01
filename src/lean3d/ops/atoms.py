"""Every kernel is a mixture of a few spatial and temporal atoms shared by all channels.

Paper: Miao et al., Spatiotemporal Joint Filter Decomposition in 3D Convolutional Neural Networks
(STDCF), NeurIPS 2021, Sec 2.1 to 2.3
Differs from the paper: the default computation first mixes the atoms into one kernel, which on
CPU cores ran 5 to 50 times faster than the paper's three stages and gives the same result.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.limits import check_sizes
from lean3d.ops.base import choose_path
from lean3d.ops.kernel import KernelConv3d
from lean3d.shape import Triple, sizes
from lean3d.typed import check_arguments

__all__ = ["AtomConv3d"]

PATHS = ("reconstruct", "stages", "coefficients")


def orthonormal(like: Tensor) -> Tensor:
    """Return random atoms of unit norm on average; orthogonal if there are enough dimensions."""
    # QR has no half precision
    dtype = torch.promote_types(like.dtype, torch.float32)
    rows = torch.empty(len(like), like[0].numel(), device=like.device, dtype=dtype)
    if rows.shape[0] <= rows.shape[1]:
        nn.init.orthogonal_(rows)
    else:
        nn.init.normal_(rows, std=rows.shape[1] ** -0.5)
    return rows.view_as(like)


class AtomConv3d(KernelConv3d):
    """Conv3d whose kernels are sum_ij a_ij psi_i(h, w) phi_j(d): atoms shared, coefficients free.

    Takes the arguments of nn.Conv3d in the same order, then:

    Args:
        spatial: M, the number of spatial atoms.
        temporal: N, the number of temporal atoms.
        path: "reconstruct" (mix the kernel, convolve once), "stages" (Eqn 1: spatial atoms,
            temporal atoms, 1x1x1) or "coefficients" (1x1x1 first, then the atoms); None for
            "reconstruct", measured fastest.

    Shape: (B, C, D, H, W) -> (B, C', D', H', W'), the sizes nn.Conv3d would give, for any size or
        dilation of the atoms.
    Cost: C*C'*k*k*k/groups multiply-adds per output voxel, and as many per step to mix the kernel;
        M*k*k + N*k + C*C'*M*N/groups parameters and the bias.

    Raises:
        LeanError: there is no spatial or no temporal atom, or no such path.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Triple,
        stride: int | Triple = 1,
        padding: str | int | Triple = 0,
        dilation: int | Triple = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
        *,
        spatial: int = 6,
        temporal: int = 2,
        path: str | None = None,
    ):
        size = (kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(in_channels, out_channels, *size, device=device, dtype=dtype)
        check_arguments(self, spatial=spatial, temporal=temporal, path=path)
        if min(spatial, temporal) < 1:
            raise LeanError(f"AtomConv3d needs atoms of both kinds, got {spatial=}, {temporal=}")
        self.path = choose_path(path, PATHS, self)
        time, height, width = self.kernel_size
        like = dict(device=device, dtype=dtype)
        check_sizes("AtomConv3d's atoms", (spatial + temporal, *self.kernel_size))
        self.spatial_atoms = nn.Parameter(torch.empty(spatial, height, width, **like))
        self.temporal_atoms = nn.Parameter(torch.empty(temporal, time, **like))
        shape = (out_channels, in_channels // groups, spatial, temporal)
        check_sizes("AtomConv3d's coefficients", shape)
        self.weight = nn.Parameter(torch.empty(shape, **like))
        self.space_dilation = self.time_dilation = 1
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise random orthonormal atoms, and coefficients for the variance of nn.Conv3d."""
        with torch.no_grad():
            for atoms in (self.spatial_atoms, self.temporal_atoms):
                atoms.copy_(orthonormal(atoms))
        mixed = self.weight[0].numel()
        bound = 1 / math.sqrt(mixed)
        nn.init.uniform_(self.weight, -bound, bound)
        self.reset_bias(self.weight.shape[1] * math.prod(self.kernel_size))

    @property
    def mixes_kernel(self) -> bool:
        return self.path in (None, "reconstruct")

    def dilate(self, *, space: int | None = None, time: int | None = None) -> "AtomConv3d":
        """Dilate the atoms' taps (Sec 2.3); 1 restores them. The output size is unchanged.

        Raises:
            LeanError: a factor is below 1.
        """
        for name, factor in (("space", space), ("time", time)):
            if factor is None:
                continue
            if factor < 1:
                raise LeanError(f"AtomConv3d.dilate: {name} must be at least 1, got {factor}")
            setattr(self, f"{name}_dilation", factor)
        return self

    def swap_atoms(
        self, *, spatial: Tensor | None = None, temporal: Tensor | None = None
    ) -> "AtomConv3d":
        """Replace the atoms by others, of any size; coefficients stay (Sec 2.1.2).

        Args:
            spatial: (M, height, width)
            temporal: (N, time)

        Raises:
            LeanError: the number of atoms changes, or a tensor is no set of atoms.
        """
        for name, new in (("spatial_atoms", spatial), ("temporal_atoms", temporal)):
            old = getattr(self, name)
            if new is None:
                continue
            if new.ndim != old.ndim or len(new) != len(old):
                raise LeanError(
                    f"AtomConv3d.swap_atoms: {name} has shape {tuple(old.shape)} and keeps its "
                    f"{len(old)} atoms, got {tuple(new.shape)}"
                )
            fresh = new.detach().to(old).clone()
            setattr(self, name, nn.Parameter(fresh, requires_grad=old.requires_grad))
        return self

    @property
    def spread(self) -> Triple:
        """The dilation of the kernel, including that of the atoms."""
        time, height, width = self.dilation
        return (
            time * self.time_dilation,
            height * self.space_dilation,
            width * self.space_dilation,
        )

    @property
    def coefficients(self) -> Tensor:
        """The (C', C/groups, M, N) of Eqn 2: the parameter `weight`, whose norm is the kernel's."""
        return self.weight

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: object) -> None:
        # the former name of `weight`
        if f"{prefix}coefficients" in state_dict:
            state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}coefficients")
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def kernel(self, weight: Tensor) -> Tensor:
        """The kernel (C', C/groups, t, k, k) of Eqn 2, in the atoms' size, before `spread`."""
        space, time = self.spatial_atoms, self.temporal_atoms
        atoms = torch.einsum("mhw,nt->mnthw", space, time)
        kernel = weight.flatten(2) @ atoms.flatten(2).flatten(0, 1)
        return kernel.unflatten(-1, atoms.shape[2:])

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.path == "stages":
            return self._by_stages(input, weight, bias)
        if self.path == "coefficients":
            return self._coefficients_first(input, weight, bias)
        return self.convolve(input, self.kernel(weight), bias, dilation=self.spread)

    def _padded(self, x_BCDHW: Tensor, axes: tuple[int, ...] = (0, 1, 2)) -> Tensor:
        (time,), (height, width) = sizes(self.temporal_atoms)[1:], sizes(self.spatial_atoms)[1:]
        pads = self.pads_for((time, height, width), self.spread)
        return self.padded(x_BCDHW, pads, axes)

    def _by_stages(self, x_BCDHW: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Eqn 1: spatial-atom, temporal-atom, then joint-coefficient convolution."""
        (jump, *step), (wide, *broad) = self.stride, self.spread
        # time is padded after space, so that no spatial atom is applied to padded frames
        x = self._padded(x_BCDHW, axes=(1, 2))
        batch = x.shape[0]
        space = self.spatial_atoms[:, None, None]
        x = F.conv3d(x.flatten(0, 1).unsqueeze(1), space, None, (1, *step), 0, (1, *broad))
        x = self._padded(x, axes=(0,))
        time = self.temporal_atoms[:, None, :, None, None]
        x = F.conv3d(x.flatten(0, 1).unsqueeze(1), time, None, (jump, 1, 1), 0, (wide, 1, 1))
        count = sizes(self.spatial_atoms)[0] * sizes(self.temporal_atoms)[0]
        x = x.reshape(batch, self.in_channels * count, *x.shape[2:])
        joint = weight.flatten(1)[:, :, None, None, None]
        return F.conv3d(x, joint, bias, groups=self.groups)

    def _coefficients_first(self, x_BCDHW: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        joint = weight.flatten(2).transpose(1, 2).flatten(0, 1)[:, :, None, None, None]
        x = F.conv3d(self._padded(x_BCDHW), joint, groups=self.groups)
        batch, size = x.shape[0], x.shape[2:]
        atoms = torch.einsum("mhw,nt->mnthw", self.spatial_atoms, self.temporal_atoms)
        x = x.reshape(batch * self.out_channels, math.prod(sizes(atoms)[:2]), *size)
        x = F.conv3d(x, atoms.flatten(0, 1)[None], None, self.stride, 0, self.spread)
        x = x.reshape(batch, self.out_channels, *x.shape[2:])
        return x if bias is None else x + bias.to(x.dtype)[:, None, None, None]

    def extra_repr(self) -> str:
        own = f"spatial={len(self.spatial_atoms)}, temporal={len(self.temporal_atoms)}"
        return f"{super().extra_repr()}, {own}"
