"""Base class of the 2D-to-3D methods, and the place in a model that a rule converts.

Axes: B batch, C channels, D depth, H height, W width.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Size, Tensor, nn

from lean3d.conversion.tolerance import PHASES, largest
from lean3d.errors import ConversionError
from lean3d.typed import check_types

__all__ = ["Converted", "DepthMerge", "Site", "To3D", "refusal_at"]


@dataclass(frozen=True)
class To3D(ABC):
    """A 2D-to-3D method: what its operators are, and how their weights come from 2D and go back.

    Depth is treated as height unless a method differs. Extend it by a frozen dataclass under
    `register_method`; `conv` and `transposed` have to be written, the others have defaults.

    Args:
        keep_depth: How many of the first downsamplings (and the upsamplings that undo them)
            preserve the depth axis, for volumes with thick slices; None for all of them.
    """

    keep_depth: int | None = field(default=0, kw_only=True)
    # whether a result that only preserves the 2D output slice by slice is what the user asked for
    planar_is_enough: ClassVar[bool] = False
    # whether the parameters of a converted convolution are those of the 2D one
    keeps_kernels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        keep = self.keep_depth
        check_types(self, ConversionError)
        if keep is not None and keep < 0:
            raise ConversionError(
                f"{type(self).__name__}: keep_depth is a number of downsamplings or None for all, "
                f"got {keep!r}"
            )

    @abstractmethod
    def conv(self, conv: nn.Conv2d, site: "Site") -> "Converted":
        """Return the 3D operator for a convolution, its own parameters on the meta device."""

    @abstractmethod
    def transposed(self, conv: nn.ConvTranspose2d, site: "Site") -> "Converted":
        """Return the 3D operator for a transposed convolution, as `conv` does."""

    @property
    def keeps_weights(self) -> bool:
        """Whether the 2D weights go into the 3D model."""
        return True

    @property
    def plane_axis(self) -> int:
        """The axis (0 D, 1 H, 2 W) normal to the plane of what stays on one, as pixel shuffles."""
        return 0

    @property
    def depth_padding(self) -> Literal["zeros", "replicate"]:
        """What is beyond the first and the last slice."""
        return "zeros"

    def in_check(self, axis: int) -> "To3D | None":
        """Return the method with which the self-check compares with 2D.

        Args:
            axis: Of the volume along which it is constant.

        Returns:
            None for `Planar(axis=axis)`, whose kernels do not extend along that axis.
        """
        return None

    def weights(self, module: nn.Module, weight: Tensor, owner: nn.Module) -> dict[str, Tensor]:
        """Return parameters for a 3D operator whose 2D kernel a forward has computed.

        Args:
            module: The operator, as this conversion made it.
            owner: The module whose forward convolves.
        """
        return {"weight": weight}

    def kernel_2d(self, module: nn.Module, weight: Tensor) -> Tensor:
        """Return the 2D kernel of a 5-D weight: by default its effect on a repeated slice."""
        flat = weight.sum(2)
        return flat / int(module.stride[0]) if isinstance(module, nn.ConvTranspose3d) else flat

    def loses(self, module: nn.Module, parameter: Tensor, size: Size | None) -> bool:
        """Whether a trained parameter says what the 2D model cannot.

        Args:
            module: The 3D operator that has it.
            size: Of the 2D parameter; None if there is none.
        """
        if size is None:
            return bool(parameter.abs().max() > 0)
        if not isinstance(module, nn.ConvTranspose3d) or parameter.ndim == len(size):
            return False
        flat = self.kernel_2d(module, parameter)
        phases = [_phase(module, parameter, phase) for phase in range(int(module.stride[0]))]
        return any(largest(flat, one) > PHASES for one in phases)

    def operator(self, arguments: Mapping[str, Any]) -> nn.Module:
        """Return an operator that `decompose` fits to a 3D kernel.

        Args:
            arguments: Of nn.Conv3d, by name.

        Raises:
            ConversionError: the method has none.
        """
        raise ConversionError(
            f"{type(self).__name__} makes no leaner kernel of one that is 3D already"
        )


def _phase(module: nn.ConvTranspose3d, weight: Tensor, phase: int) -> Tensor:
    """Return the kernel's effect on a repeated slice in the output slices of one stride phase."""
    dilation, stride = int(module.dilation[0]), int(module.stride[0])
    taps = [tap for tap in range(weight.shape[2]) if tap * dilation % stride == phase]
    return weight[:, :, taps].sum(2)


def refusal_at(path: str, module: nn.Module, why: str) -> ConversionError:
    """Return an error that names a module."""
    where = f"at {path!r}" if path else "(the model itself)"
    return ConversionError(f"{type(module).__name__} {where} cannot be converted: {why}")


@dataclass(frozen=True)
class Site:
    """One module of a model under conversion, as passed to its rule.

    Args:
        keep: This module resamples, and is one of those that preserve depth.
        made: Parameters already made from others, so that tied ones stay tied.
    """

    path: str
    how: To3D
    keep: bool = False
    made: dict[tuple[Any, ...], nn.Parameter] = field(default_factory=dict)

    def refuse(self, module: nn.Module, why: str) -> ConversionError:
        """Return an error that names this module."""
        return refusal_at(self.path, module, why)


@dataclass(frozen=True)
class Converted:
    """The return value of a rule that gives more than the new module.

    Args:
        exact: Whether the module alone gives the 2D output on a volume that repeats one image.
        kept: Whether the 2D weights were carried over.
    """

    module: nn.Module
    exact: bool = True
    kept: bool = True


@dataclass(frozen=True)
class DepthMerge:
    """How a forward that assumes 4-D input runs on volumes.

    Args:
        stack: Merge depth into the batch, because the forward uses neighbours; else into height.
        same: Which of its own windows, in order, are padded to give ceil(size / stride) outputs.
        keep: Which of its calls that may resample preserve depth, in order.
        constant_axis: In a self-check, the axis along which the volume is constant.
        plugins: The 3D rules of other packages that it needs; pickles import their modules.
        channels_last_in: It takes (B, H, W, C) in 2D.
        channels_last_out: It returns (B, H, W, C) in 2D.
        carries: It computes sizes, and what they are along depth is known from no other map.
    """

    how: To3D
    stack: bool
    same: tuple[bool, ...] = (False,)
    keep: tuple[bool, ...] = (False,)
    constant_axis: int | None = None
    channels_last_in: bool = False
    channels_last_out: bool = False
    plugins: tuple[Callable[..., object], ...] = ()
    carries: bool = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        same = state.get("same", ())
        # models that lean3d 0.1 stored have one flag for all windows
        vars(self).update(state | {"same": (same,)} if isinstance(same, bool) else state)
