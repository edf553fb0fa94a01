"""A convolution by oneDNN: kernel packed, activation and residual sum inside the one call.

Axes: B batch, C channels, then one to three spatial axes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lean3d.runtime.fusion import FusedConv

__all__ = ["PackedConv", "can_pack"]


def can_pack(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether oneDNN's fused convolutions run here."""
    known = hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    usable = torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)
    half = dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return known and usable and half and weight.device.type == "cpu"


class PackedConv(FusedConv):
    """A convolution with constant weights, then `activation`; its output is channels-last.

    `settle` packs the kernel, and keeps the packed copy alone; it can be neither copied nor saved.

    Args:
        weight: (C', C/groups, ...), shared with the network.
        sizes: Sizes of an input, for which oneDNN chooses the packing; others run as well.
        transposed: The output padding of a transposed convolution.
        activation: Name, scalars and algorithm of oneDNN's activation.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        sizes: Sequence[int],
        transposed: Sequence[int] | None = None,
    ):
        super().__init__(weight, bias)
        self.stride, self.padding = self.per_axis(stride), self.per_axis(padding)
        self.dilation, self.groups, self.sizes = self.per_axis(dilation), groups, list(sizes)
        self.transposed = None if transposed is None else self.per_axis(transposed)
        self._packed: Tensor | None = None

    def settle(self) -> None:
        """Pack the kernel, and drop the one that it was made of."""
        self._pack()
        self.weight = self.weight.new_empty(0)

    def forward(self, x: Tensor, total: Tensor | None = None) -> Tensor:
        """Return the activation of the convolution, or of `total` plus it, written into `total`."""
        packed = self._packed
        assert packed is not None, "not settled"
        shape = (self.padding, self.stride, self.dilation, self.groups)
        name, scalars, algorithm = self.activation
        if self.transposed is not None:
            return torch.ops.mkldnn._convolution_transpose_pointwise(
                x, packed, self.bias, self.padding, self.transposed, *shape[1:], *self.activation
            )
        if total is None:
            return torch.ops.mkldnn._convolution_pointwise(
                x, packed, self.bias, *shape, *self.activation
            )
        after = None if name == "none" else name
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            total, x, packed, self.bias, *shape, "add", 1.0, after, scalars, algorithm
        )

    def _pack(self) -> None:
        shape = (self.stride, self.dilation, self.groups, self.sizes)
        if self.transposed is not None:
            # (C, C'/groups, ...)
            self._packed = torch.ops.mkldnn._reorder_convolution_transpose_weight(
                self.weight, self.padding, self.transposed, *shape
            )
        else:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, self.padding, *shape
            )

    def extra_repr(self) -> str:
        return f"stride={self.stride}, {self.activation[0]}"
