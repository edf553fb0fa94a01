"""What every way of lifting a 2D network to 3D has in common.

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
    """How 2D modules become 3D ones: depth is treated as height, apart from what a subclass says.

    Args:
        keep_depth: How many of the first downsamplings (and the upsamplings that undo them) leave
            the depth axis alone, for volumes with thick slices; None for all of them.
    """

    keep_depth: int | None = field(default=0, kw_only=True)
    # whether a result that only keeps the 2D answer slice by slice is what the user asked for
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
        """Parameters for a 3D operator whose 2D kernel a forward has computed.

        Args:
            module: The operator, as this conversion made it.
            owner: The module whose forward convolves.
        """
        return {"weight": weight}


@dataclass(frozen=True)
class Site:
    """One place in a model under conversion, as its rule sees it.

    Args:
        keep: This module resamples, and is one of those that leave depth alone.
        made: Parameters already made from others, so that tied ones stay tied.
    """

    path: str
    how: Any
    keep: bool = False
    made: dict[Any, nn.Parameter] = field(default_factory=dict)

    def refuse(self, module: nn.Module, why: str) -> ConversionError:
        """The error that names this place."""
        where = f"at {self.path!r}" if self.path else "(the model itself)"
        return ConversionError(f"{type(module).__name__} {where} cannot be converted: {why}")


@dataclass(frozen=True)
class Lifted:
    """What a rule returns when there is more to say than the new module.

    Args:
        exact: Whether the module alone gives the 2D answer on a volume that repeats one image.
        kept: Whether the 2D weights were carried over.
    """

    module: nn.Module
    exact: bool = True
    kept: bool = True


@dataclass(frozen=True)
class Folding:
    """How a forward that speaks 2D runs on volumes.

    Args:
        stack: Depth goes into the batch, because the forward sees neighbours; else into height.
        same: Its padding makes ceil(size / stride) outputs at any size.
        keep: Which of its calls that may resample leave depth alone, in order.
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
