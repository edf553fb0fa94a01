"""Factorises a 3D convolution into a mixture of shared atoms, by alternating least squares.

Paper: Miao et al. (STDCF), NeurIPS 2021, Sec 2.1
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lean3d.conversion.lean.base import Lean, place
from lean3d.conversion.lean.factor import shared_atoms
from lean3d.conversion.methods import register_method
from lean3d.errors import ConversionError
from lean3d.ops import AtomConv3d

__all__ = ["Atoms"]

MOST_SPATIAL = 12


@register_method("atoms", "mixtures of atoms that all filters share (STDCF)")
@dataclass(frozen=True)
class Atoms(Lean[AtomConv3d]):
    """Write the kernels of 3D convolutions as mixtures of shared spatial and temporal atoms.

    Exact with as many atoms of each kind as the kernel has taps.

    Args:
        spatial: M, the number of spatial atoms.
        temporal: N, the number of temporal atoms.
        path: How the operator computes, see `AtomConv3d`; a budget in MACs asks for "stages".
    """

    spatial: int = 6
    temporal: int = 2
    path: Literal["reconstruct", "stages", "coefficients"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.spatial, self.temporal) < 1:
            raise ConversionError(f"Atoms: there are atoms of both kinds, got {self}")

    def build(self, conv: nn.Conv3d, **like: object) -> AtomConv3d:
        atoms: Any = dict(spatial=self.spatial, temporal=self.temporal, path=self.path)
        return AtomConv3d(**self.arguments(conv, like), **atoms)

    def fill(self, operator: AtomConv3d, kernel: Tensor, bias: nn.Parameter | None) -> Tensor:
        rows = kernel.flatten(4)  # (G, O, I, T, P)
        gram = torch.einsum("goitp,goiuq->tpuq", rows, rows)
        space, time = shared_atoms(gram, self.spatial, self.temporal)
        mixed = rows @ torch.linalg.pinv(space)
        mixed = (mixed.transpose(3, 4) @ torch.linalg.pinv(time)).flatten(0, 1)
        place(operator, "spatial_atoms", space)
        place(operator, "temporal_atoms", time)
        place(operator, "weight", mixed)
        place(operator, "bias", bias)
        fitted = torch.einsum("oimn,mp,nt->oitp", mixed, space, time)
        return fitted.reshape(kernel.shape)

    def choices(self, conv: nn.Conv3d) -> list[Lean[AtomConv3d]]:
        time, height, width = conv.kernel_size
        most = min(height * width, MOST_SPATIAL)
        counts = product(range(1, most + 1), range(1, time + 1))
        return [replace(self, spatial=m, temporal=n, path="stages") for m, n in counts]
