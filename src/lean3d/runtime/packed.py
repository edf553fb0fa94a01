"""A convolution by oneDNN: kernel packed, activation and residual sum inside the one call.

Axes: B batch, C channels, then one to three spatial axes.
"""

from collections.abc import Sequence
from typing import Any

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

    The packed copy of the kernel is made at the first call, as it can be neither copied nor saved.

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

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packed": None}

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._packed = None
        return super()._apply(fn, recurse)

    def forward(self, x: Tensor, total: Tensor | None = None) -> Tensor:
        """Return the activation of the convolution, or of `total` plus it, written into `total`."""
        packed = self._packed if self._packed is not None else self._pack()
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

    def _pack(self) -> Tensor:
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
        return self._packed

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, stride={self.stride}, {self.activation[0]}"
