"""Make a network causal: past-only kernels, no temporal downsampling, a running head.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3.1
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lean3d.conversion.causal.functions import Spots, follow_frames, stay_within
from lean3d.conversion.causal.kernels import (
    LINKED,
    causal_form,
    depths,
    is_kernel,
    time_extent,
)
from lean3d.conversion.causal.method import Dissect
from lean3d.conversion.causal.pools import (
    POOLS,
    WINDOWED,
    Means,
    final_pools,
    means,
    one_frame,
    pads_time,
    pool_over_clip,
    readers,
    spread_over_frames,
    stay_within_frames,
)
from lean3d.conversion.causal.proof import compare_steps
from lean3d.conversion.causal.recurrent import carry_on, reads_time
from lean3d.conversion.lean.dense import refusal
from lean3d.conversion.record import Conversion, Row
from lean3d.conversion.surgery.copies import duplicate
from lean3d.conversion.surgery.take_over import take_over
from lean3d.conversion.surgery.ties import check_tied, tied
from lean3d.conversion.to3d.base import refusal_at
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.graph import trace
from lean3d.conversion.trace.inputs_3d import example_for, runs
from lean3d.errors import ConversionError
from lean3d.ops import CausalConv3d, PlanarConvTranspose3d
from lean3d.ops.base import Conv3dLike
from lean3d.torch_functions import Trait

__all__ = ["make_causal"]

# larger than the product of the temporal strides of any network here
FRAMES = 64
PADS = (nn.ConstantPad3d, nn.ReplicationPad3d, nn.ReflectionPad3d, nn.CircularPad3d)


@dataclass(frozen=True)
class CausalPlan:
    """Results of a run of the model.

    Args:
        depths: Temporal receptive field of each kernel, in frames.
        final_pools: The final pools over the clip.
        owners: The modules whose own code averages the clip, and how.
        given: The axes of their inputs, where those are not a clip's.
        windows: Those of them that do so by a window.
        padding: The modules whose own code pads the clip with frames, or pools some by a window.
        readers: The linear layers that read the outputs of the final pools.
    """

    depths: dict[str, int]
    final_pools: set[str]
    owners: dict[str, Means]
    given: dict[str, tuple[str, ...]]
    windows: set[str]
    padding: dict[str, set[tuple[int, int, int]]]
    readers: dict[str, nn.Linear]


def make_causal(
    model: nn.Module, how: Dissect, where: Callable[[str, nn.Module], bool] | None, example: object
) -> nn.Module:
    """Copy a 3D network as a causal one that keeps the number of frames.

    Raises:
        ConversionError: no clip was found on which the model runs, or it mixes frames in a way
            that cannot be made causal.
    """
    result = duplicate(model)  # this copy is run, so that other threads can use the model meanwhile
    arguments = example_for(result, example)
    if arguments is None:
        raise ConversionError(
            f"{type(model).__name__}: no clip was found on which it runs; pass example=, an input "
            "(B, C, T, H, W)"
        )
    if len(arguments) != 1 or not isinstance(arguments[0], Tensor) or arguments[0].ndim != 5:
        shapes = [tuple(x.shape) for x in tensors(arguments)]
        raise ConversionError(
            f"{type(model).__name__}: Dissect takes networks of one clip (B, C, T, H, W), the "
            f"example has {shapes}; pathways of several rates can be streamed with wait=True alone"
        )
    plan, ties = _plan(result, how, arguments), tied(result)
    rows = []
    for path, module in list(result.named_modules()):
        if where is None or where(path, module):
            row = _change(path, module, how, plan)
            rows += [row] if row else []
    for path, found in sorted(plan.owners.items()):
        owner = result.get_submodule(path)
        if where is None or where(path, owner):
            given = plan.given.get(path)
            changed = follow_frames(owner, how, found, path in plan.windows, given)
            rows.append(Row(path, *changed, False, True))
    for path, windows in sorted(plan.padding.items()):
        owner = result.get_submodule(path)
        if where is None or where(path, owner):
            rows.append(Row(path, *stay_within(owner, windows), False, True))
    check_tied(result, ties)
    checks = compare_steps(model, result, arguments) if where is None else ()
    note = "" if where is None else "self-check skipped: where= left modules as they were"
    before = vars(model).get("conversion")
    record = Conversion(how, "causal", tuple(rows), checks, note, before=before)
    vars(result)["conversion"] = record
    return result


def _plan(model: nn.Module, how: Dissect, arguments: tuple[Tensor, ...]) -> CausalPlan:
    looks = Spots()
    flow = trace(model, _longer(model, arguments), looks)
    last = final_pools(flow)
    calls = [flow.calls[number] for number in last]
    pools = {call.path for call in calls if call.path}
    owners = means(flow, last)
    linear = readers(flow, last) if how.head == "window" else {}
    windows = {c.owner for c in flow.calls if c.seen == "mean" and Trait.CLIP_WINDOW in c.traits}
    given = looks.given
    return CausalPlan(depths(flow, how), pools, owners, given, windows, pads_time(flow), linear)


def _longer(model: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return a clip of which several frames remain at every layer, if the model runs on it."""
    clip_BCTHW, *rest = arguments
    times = -(-FRAMES // clip_BCTHW.shape[2])
    longer = (clip_BCTHW.repeat(1, 1, times, 1, 1), *rest)
    return longer if times > 1 and runs(model, longer) else arguments


def _change(path: str, module: Any, how: Dissect, plan: CausalPlan) -> Row | None:
    before = type(module).__name__
    if isinstance(module, WINDOWED) and path not in plan.final_pools:
        changed = stay_within_frames(module)
        return Row(path, before, f"{before} within a frame", False, True) if changed else None
    if isinstance(module, PADS):
        return _pad_within_frames(path, module)
    if path in plan.final_pools or (isinstance(module, POOLS) and one_frame(module)):
        pool = pool_over_clip(module, how, path in plan.final_pools)
        take_over(module, pool)
        return Row(path, before, type(pool).__name__, False, True)
    if path in plan.readers:
        spread_over_frames(module, how.window)
        return Row(path, before, f"{before} over {how.window} frames", False, True)
    if isinstance(module, nn.RNNBase) and reads_time(module, plan.given.get(path)):
        return Row(path, *carry_on(path, module), False, True)
    if isinstance(module, PlanarConvTranspose3d) and module.axis == 0:
        return _enlarge_within_frames(path, module)
    if isinstance(module, nn.ConvTranspose3d) and module.stride[0] * module.kernel_size[0] > 1:
        raise refusal_at(path, module, "it makes frames of frames; make it (1, k, k)")
    if is_kernel(module):
        return _cut(path, module, how, plan)
    return _stop_striding(path, module)


def _cut(path: str, conv: Any, how: Dissect, plan: CausalPlan) -> Row | None:
    """Whether it has a temporal kernel or stride, or a plane that CausalConv3d computes faster."""
    before = type(conv).__name__
    if isinstance(conv, CausalConv3d):
        return _stop_striding(path, conv)
    if not isinstance(conv, Conv3dLike) and (why := refusal(conv)):
        raise refusal_at(path, conv, why)
    extent, stride = time_extent(conv), conv.stride[0]
    flat = extent == conv.kernel_size[0] == 1
    if flat and (max(conv.kernel_size) == 1 or isinstance(conv, Conv3dLike)):
        return _stop_striding(path, conv)
    causal, moved = causal_form(path, conv, how, min(plan.depths.get(path, LINKED), extent))
    after = f"{type(causal).__name__}, {extent} frames to {_frames(causal)}"
    after += "" if stride == 1 else f", stride {stride} in time to 1"
    take_over(conv, causal)
    return Row(path, before, after, moved or stride == 1, True)


def _frames(causal: Any) -> int:
    """Return the number of frames in an operator's kernel."""
    alone = isinstance(causal, CausalConv3d)
    return causal.kernel_size[0] if alone else 2


def _pad_within_frames(path: str, pad: Any) -> Row | None:
    if not any(pad.padding[4:]):
        return None
    pad.padding = (*pad.padding[:4], 0, 0)
    kind = type(pad).__name__
    return Row(path, kind, f"{kind} within a frame", False, True)


def _enlarge_within_frames(path: str, planar: PlanarConvTranspose3d) -> Row | None:
    """Make no frames of frames; the kernel has no extent over time."""
    if planar.kernel_size[0] * planar.stride[0] == 1:
        return None
    one: dict[str, int] = dict(kernel_size=1, stride=1, padding=0, output_padding=0, dilation=1)
    for name, frames in one.items():
        setattr(planar, name, (frames, *getattr(planar, name)[1:]))
    kind = type(planar).__name__
    return Row(path, kind, f"{kind} within a frame", False, True)


def _stop_striding(path: str, module: Any) -> Row | None:
    """Set every stride of three numbers to 1 over time."""
    stride = getattr(module, "stride", None)
    if module._modules or not isinstance(stride, tuple) or len(stride) != 3 or stride[0] == 1:
        return None
    module.stride = (1, *stride[1:])
    kind = type(module).__name__
    return Row(path, kind, f"{kind}, stride {stride[0]} in time to 1", False, True)
