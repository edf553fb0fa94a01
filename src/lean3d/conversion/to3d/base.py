"""Base class of the 2D-to-3D conversion methods.

Axes: B batch, C channels, D depth, H height, W width.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from lean3d.errors import ConversionError
from lean3d.typed import check_types

__all__ = ["Folding", "Lift", "Lifted", "Site"]


@dataclass(frozen=True)
class Lift:
    """A 2D-to-3D conversion method: depth is treated as height unless a subclass differs.

    Args:
        keep_depth: How many of the first downsamplings (and the upsamplings that undo them)
            preserve the depth axis, for volumes with thick slices; None for all of them.
    """

    keep_depth: int | None = field(default=0, kw_only=True)
    # whether a result that only preserves the 2D output slice by slice is what the user asked for
    planar_will_do: ClassVar[bool] = False

    def __post_init__(self) -> None:
        keep = self.keep_depth
        check_types(self, ConversionError)
        if keep is not None and keep < 0:
            raise ConversionError(
                f"{type(self).__name__}: keep_depth is a number of downsamplings or None for all, "
                f"got {keep!r}"
            )

    def weights(self, module: nn.Module, weight: Tensor, owner: nn.Module) -> dict[str, Tensor]:
        """Return parameters for a 3D operator whose 2D kernel a forward has computed.

        Args:
            module: The operator, as this conversion made it.
            owner: The module whose forward convolves.
        """
        return {"weight": weight}


@dataclass(frozen=True)
class Site:
    """One module of a model under conversion, as passed to its rule.

    Args:
        keep: This module resamples, and is one of those that preserve depth.
        made: Parameters already made from others, so that tied ones stay tied.
    """

    path: str
    how: Any
    keep: bool = False
    made: dict[Any, nn.Parameter] = field(default_factory=dict)

    def refuse(self, module: nn.Module, why: str) -> ConversionError:
        """Return an error that names this module."""
        where = f"at {self.path!r}" if self.path else "(the model itself)"
        return ConversionError(f"{type(module).__name__} {where} cannot be converted: {why}")


@dataclass(frozen=True)
class Lifted:
    """The return value of a rule that gives more than the new module.

    Args:
        exact: Whether the module alone gives the 2D output on a volume that repeats one image.
        kept: Whether the 2D weights were carried over.
    """

    module: nn.Module
    exact: bool = True
    kept: bool = True


@dataclass(frozen=True)
class Folding:
    """How a forward that assumes 4-D input runs on volumes.

    Args:
        stack: Merge depth into the batch, because the forward uses neighbours; else into height.
        same: Its padding makes ceil(size / stride) outputs at any size.
        keep: Which of its calls that may resample preserve depth, in order.
        still: In a self-check, the axis along which the volume is constant.
        channels_last_in: It takes (B, H, W, C) in 2D.
        channels_last_out: It returns (B, H, W, C) in 2D.
    """

    how: Any
    stack: bool
    same: bool = False
    keep: tuple[bool, ...] = (False,)
    still: int | None = None
    channels_last_in: bool = False
    channels_last_out: bool = False
