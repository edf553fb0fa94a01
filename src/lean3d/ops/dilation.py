"""Dilate the kernel of a plain convolution while its output keeps its size.

Paper: Miao et al., STDCF, NeurIPS 2021, Sec 3.1: the dilated convolutions that its two-stage
learning gives to regular and rank-1 kernels
"""

from torch import nn

from lean3d.errors import LeanError

__all__ = ["dilate", "is_plain"]


def is_plain(module: nn.Module) -> bool:
    """Whether this is an nn.Conv3d that computes as torch does, so that `dilate` takes it."""
    if not isinstance(module, nn.Conv3d):
        return False
    kind = type(module)
    same = kind.forward is nn.Conv3d.forward
    return same and kind._conv_forward is nn.Conv3d._conv_forward


def dilate(conv: nn.Conv3d, *, space: int = 1, time: int = 1) -> nn.Conv3d:
    """Spread the kernel's taps by these factors, of the dilation it was built with; 1 restores it.

    The padding grows alike on both sides: the output has the size it had, and the kernel's middle
    stays where it was.

    Raises:
        LeanError: a factor below 1, or a kernel of an even size, whose padding would be uneven.
    """
    if min(space, time) < 1:
        raise LeanError(f"dilate: factors are at least 1, got space={space}, time={time}")
    # what it was built with is kept beside it, because a stage dilates what another has dilated
    spread, padding = conv.__dict__.setdefault("undilated", (conv.dilation, conv.padding))
    asked = zip((time, space, space), conv.kernel_size, strict=True)
    factors = tuple(factor if size > 1 else 1 for factor, size in asked)
    more = [
        (factor - 1) * own * (size - 1)
        for factor, own, size in zip(factors, spread, conv.kernel_size, strict=True)
    ]
    if any(total % 2 for total in more):
        raise LeanError(
            f"dilate: a kernel of {' x '.join(map(str, conv.kernel_size))} dilated by {factors} "
            "needs uneven padding; use kernels of odd sizes"
        )
    depth, height, width = (own * by for own, by in zip(spread, factors, strict=True))
    conv.dilation = (depth, height, width)
    if not isinstance(padding, str):
        depth, height, width = (pad + total // 2 for pad, total in zip(padding, more, strict=True))
        conv.padding = (depth, height, width)
    elif padding == "valid":
        depth, height, width = (total // 2 for total in more)
        conv.padding = (depth, height, width)
    conv._reversed_padding_repeated_twice = _both_sides(conv)
    return conv


def _both_sides(conv: nn.Conv3d) -> list[int]:
    """What torch pads by in modes other than zeros: before and after, the last axis first."""
    if isinstance(conv.padding, str):
        spans = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        return [side for span in reversed(spans) for side in (span // 2, span - span // 2)]
    return [pad for pad in reversed(conv.padding) for _ in range(2)]
