"""The nearest kernels of low rank: by singular values, and by alternating least squares.

Papers: Gonda et al. (PmSCn), arXiv:1809.04096, Eqn 1 to 3; Miao et al. (STDCF), NeurIPS 2021,
Sec 2.1; the nearest matrix of a given rank is by Eckart and Young (1936).

Axes: G groups, O outputs and I inputs of a group, then the kernel's depth, height and width.
"""

import torch
from torch import Tensor

__all__ = ["Spectrum", "as_pairs", "matricize", "shared_atoms", "tensorize"]

NOTHING = 1e-12
SWEEPS, GAIN = 100, 1e-12


def matricize(kernel: Tensor, axis: int) -> Tensor:
    """Unfold (G, O, I, kd, kh, kw) into matrices whose rows are outputs and taps along `axis`."""
    rows = kernel.shape[1] * kernel.shape[3 + axis]
    return kernel.movedim(3 + axis, 2).reshape(len(kernel), rows, -1)


def tensorize(matrices: Tensor, axis: int, shape: tuple[int, ...]) -> Tensor:
    """Undo `matricize`; `shape` is the kernel's."""
    moved = list(shape)
    moved.insert(2, moved.pop(3 + axis))
    return matrices.reshape(moved).movedim(2, 3 + axis)


class Spectrum:
    """The singular vectors, on the shorter side, of matrices (G, R, C)."""

    def __init__(self, matrices: Tensor):
        self.matrices = matrices
        self.by_rows = matrices.shape[1] <= matrices.shape[2]
        side = matrices if self.by_rows else matrices.mT
        energy, vectors = torch.linalg.eigh(side @ side.mT)
        self.energy, self.vectors = energy.flip(-1).clamp(min=0), vectors.flip(-1)

    @property
    def rank(self) -> int:
        """Return the rank from which on the factors are exact."""
        return self.energy.shape[-1]

    def lost(self, rank: int) -> float:
        """Return the squared distance to the nearest matrices of this rank."""
        return float(self.energy[:, rank:].sum())

    def truncate(self, rank: int, *, unit: bool = False) -> tuple[Tensor, Tensor]:
        """Return factors (G, R, rank) and (G, rank, C) of the nearest matrices of this rank.

        Terms beyond the rank of the matrices are zero on the left and random on the right, so that
        they add nothing at first and can be trained.

        Args:
            unit: Rows on the right have norm 1; otherwise both factors of a term have equal norm.
        """
        vectors = self.vectors[..., :rank]
        if self.by_rows:
            left, right = vectors, vectors.mT @ self.matrices
        else:
            left, right = self.matrices @ vectors, vectors.mT
        missing = rank - vectors.shape[-1]
        left = torch.nn.functional.pad(left, (0, missing))
        right = torch.nn.functional.pad(right, (0, 0, 0, missing))
        size = left.norm(dim=1) * right.norm(dim=2)
        largest = float(size.max()) if size.numel() else 0.0
        dead = size <= NOTHING * max(largest, NOTHING)
        scale = torch.ones_like(size) if unit else size.sqrt()
        random = torch.randn(right.shape, generator=torch.Generator().manual_seed(0))
        right = torch.where(dead[..., None], random.to(right), right)
        right = torch.nn.functional.normalize(right, dim=2)
        left = torch.nn.functional.normalize(left, dim=1) * (size / scale)[:, None]
        left = torch.where(dead[:, None], 0.0, left)
        return left, right * torch.where(dead, 1.0, scale)[..., None]


def as_pairs(left: Tensor, right: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return `rank` terms that are exact through a ReLU: relu(a) - relu(-a) = a."""
    odd = rank - 2 * left.shape[-1]
    left = torch.nn.functional.pad(torch.cat([left, -left], dim=2), (0, odd))
    # an unpaired term is there to be trained
    size = (len(right), odd, right.shape[-1])
    random = torch.randn(size, generator=torch.Generator().manual_seed(0)) / size[-1] ** 0.5
    return left, torch.cat([right, -right, random.to(right)], dim=1)


def shared_atoms(gram: Tensor, spatial: int, temporal: int) -> tuple[Tensor, Tensor]:
    """Return orthonormal atoms (M, P) and (N, T) of the smallest residual, by alternating fits.

    Each iteration is the least-squares solution for one kind of atom and the coefficients, so
    the error never grows.

    Args:
        gram: (T, P, T, P), the sum of the outer products of all kernels (T, P).
    """
    time = leading(torch.einsum("tpup->tu", gram), temporal)
    kept = -1.0
    for _ in range(SWEEPS):
        space = leading(torch.einsum("nt,tpuq,nu->pq", time, gram, time), spatial)
        seen = torch.einsum("mp,tpuq,mq->tu", space, gram, space)
        time = leading(seen, temporal)
        now = float(torch.einsum("nt,tu,nu->", time, seen, time))
        if now <= kept * (1 + GAIN):
            break
        kept = now
    return space, time


def leading(gram: Tensor, count: int) -> Tensor:
    """Return the `count` leading eigenvectors as rows; random ones beyond the number there are."""
    rows = torch.linalg.eigh(gram)[1].flip(-1).mT[:count]
    missing = (count - len(rows), rows.shape[1])
    random = torch.randn(missing, generator=torch.Generator().manual_seed(0)).to(rows)
    return torch.cat([rows, torch.nn.functional.normalize(random, dim=1)])
