"""Export a whole network, for images or volumes of any number and size.

Axes: B batch, C channels, then D H W for volumes or H W for images, K classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.errors import LeanError, RunError
from lean3d.optional import require
from lean3d.shape import sizes
from lean3d.streaming.export import SUFFIXES, quiet, save_program

__all__ = ["ExportedNetwork", "export_network"]

INPUTS, OUTPUTS = ("input",), ("output",)
# sides of the traced volume: above one voxel at a stride of 32, and no two alike
TRACED = 64, 96, 128
STEP = 32
FIRST = 200  # characters of an error that are quoted


@dataclass(frozen=True)
class ExportedNetwork:
    """A file of a network, and the inputs on which it was compared with the network.

    Args:
        free: By axis of the input, the smallest and the largest size; None without a limit.
        checked: Shapes of the inputs; the outputs differ by `largest_difference` at most.
    """

    path: Path
    free: dict[int, tuple[int, int | None]]
    checked: tuple[tuple[int, ...], ...]
    largest_difference: float


def export_network(
    model: nn.Module,
    path: str | Path,
    input_shape: Sequence[int],
    *,
    notes: Mapping[str, str] | None = None,
    allowed: float = 1e-4,
) -> ExportedNetwork:
    """Write a network in eval mode, and compare the file with it on inputs of several sizes.

    Batch and sides are free, where the network allows it: `free` of the result says which. ONNX is
    checked in onnxruntime.

    Args:
        path: Ends in .onnx for ONNX, in .pt2 for torch.export.
        input_shape: (B, C, D, H, W) or (B, C, H, W), a shape that the file must take.
        notes: Texts to keep in the file.
        allowed: The largest difference of an output, relative to the largest one.

    Raises:
        LeanError: another suffix, or the network cannot be traced.
        RunError: the file would give other outputs; nothing is written then.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise LeanError(f"export writes {' and '.join(SUFFIXES)}, got {path.name}")
    shape = tuple(input_shape)
    model = model.eval()
    _run_once(model, shape)
    error: Exception = LeanError(f"{type(model).__name__} cannot be exported")
    for traced in _traced(shape):
        try:
            return _written(model, path, traced, shape, notes, allowed)
        # a guard of the program, or branches that differ at the shape
        except (AssertionError, RunError, LeanError) as problem:
            error = problem
            path.unlink(missing_ok=True)
    if isinstance(error, LeanError):
        raise error
    raise RunError(
        f"{type(model).__name__} cannot be exported for inputs of {_by(shape)}: {error}"
    ) from error


@torch.no_grad()
def _run_once(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Refuse an input that the network does not take, in the sizes that were asked for."""
    try:
        model(next(iter(model.parameters())).new_zeros(shape))
    except LeanError:
        raise
    except Exception as error:  # a user's forward may fail in any way
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise LeanError(
            f"{type(model).__name__} cannot run on an input of {_by(shape)}: {why}"
        ) from error


def _traced(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shapes to trace: a large one, on which the fewest branches depend, or the own."""
    least = TRACED[5 - len(shape) :]
    sides = (max(side, other) for side, other in zip(shape[2:], least, strict=True))
    return [(2, shape[1], *(-(-side // STEP) * STEP for side in sides)), (2, *shape[1:])]


def _written(
    model: nn.Module,
    path: Path,
    traced: tuple[int, ...],
    shape: tuple[int, ...],
    notes: Mapping[str, str] | None,
    allowed: float,
) -> ExportedNetwork:
    program = _program(model, traced)
    try:
        save_program(program, path, INPUTS, OUTPUTS, notes)
    except (LeanError, OSError):
        raise
    except Exception as error:  # ONNX lacks what the network uses
        raise LeanError(
            f"{type(model).__name__} cannot be written as {path.suffix}: {_root(error)}"
        ) from error
    run, free = _runner(path), _free(program)
    checked, largest = [], 0.0
    for size in dict.fromkeys([shape, _other(shape, free)]):
        apart = _difference(model, run, size)
        if not apart <= allowed:
            raise RunError(
                f"{path} would give outputs up to {apart:.1e} from the network's on inputs of "
                f"{_by(size)}; nothing was written"
            )
        checked.append(size)
        largest = max(largest, apart)
    free = {axis: (min(low, shape[axis]), high) for axis, (low, high) in free.items()}
    return ExportedNetwork(path, free, tuple(checked), largest)


def _program(model: nn.Module, traced: tuple[int, ...]) -> torch.export.ExportedProgram:
    x = next(iter(model.parameters())).new_zeros(traced)
    free = {axis: torch.export.Dim.AUTO for axis in range(len(traced)) if axis != 1}
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(model, (x,), dynamic_shapes=(free,), strict=False)
    except Exception as error:  # the tracer may fail in a user's forward in any way
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise LeanError(f"{type(model).__name__} cannot be exported: {why}") from error


def _free(program: torch.export.ExportedProgram) -> dict[int, tuple[int, int | None]]:
    """Return the smallest and largest size of each axis of the input that has not one size."""
    given = next(
        node for node in program.graph.nodes if node.op == "placeholder" and _is_input(node)
    )
    free: dict[int, tuple[int, int | None]] = {}
    for axis, size in enumerate(given.meta["val"].shape):
        if isinstance(size, torch.SymInt):
            span = program.range_constraints.get(size.node.expr)
            low, high = ("1", "") if span is None else (str(span.lower), str(span.upper))
            # a batch of one is the same graph
            least = 1 if axis == 0 or not low.isdecimal() else int(low)
            free[axis] = least, int(high) if high.isdecimal() else None
    return free


def _root(error: BaseException) -> str:
    """Return the first line of the error that led to all others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error) or type(error).__name__).splitlines()[0][:FIRST]


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _is_input(node: Any) -> bool:
    return not node.name.startswith(("p_", "b_", "c_"))


def _other(shape: tuple[int, ...], free: Mapping[int, tuple[int, int | None]]) -> tuple[int, ...]:
    """Return another shape that the file should take: two inputs, one side longer."""
    other = [2 if 0 in free else shape[0], *shape[1:]]
    for axis in range(len(shape) - 1, 1, -1):
        longer = (shape[axis] // STEP + 1) * STEP
        if axis in free and longer <= (free[axis][1] or longer):
            other[axis] = longer
            break
    return tuple(other)


def _runner(path: Path) -> Callable[[Tensor], Tensor]:
    if path.suffix == ".pt2":
        with quiet():
            return torch.export.load(path).module()
    runtime = require("onnxruntime", extra="export")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {INPUTS[0]: x.numpy()})[0])


@torch.no_grad()
def _difference(model: nn.Module, run: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> float:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = model(x.clone())  # a forward may write into its input
    if not isinstance(expected, Tensor):
        raise LeanError(f"{type(model).__name__} gives {type(expected).__name__} and not a tensor")
    try:
        found = run(x)
    except AssertionError:  # a guard of the program
        raise
    except Exception as error:  # a runtime raises errors of its own
        why = (str(error) or type(error).__name__).splitlines()[0][:FIRST]
        raise RunError(
            f"the file of {type(model).__name__} does not run on inputs of {_by(shape)}, as it was "
            f"traced on others: {why}"
        ) from error
    if found.shape != expected.shape:
        raise RunError(
            f"the file gives outputs of {sizes(found)} where the network {sizes(expected)}"
        )
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
