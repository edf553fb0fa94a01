"""The result of `count`."""

from dataclasses import asdict, dataclass
from typing import Any

from lean3d.cost.table import cost_csv, cost_table

__all__ = ["Cost", "LayerCost"]

COUNTS = ("params", "macs", "interactions", "activation_bytes", "moved_bytes")


@dataclass(frozen=True)
class LayerCost:
    """The cost of one module itself, without its children.

    Args:
        output_shape: Of its last call; empty when the module did not run.
        params: Parameters it owns; a shared one counts at its first owner.
        moved_bytes: Bytes its calls read and write, as if each went to memory and back.
    """

    path: str
    type: str
    output_shape: tuple[int, ...]
    params: int
    macs: int
    interactions: int
    activation_bytes: int
    moved_bytes: int

    @property
    def macs_per_byte(self) -> float:
        """Arithmetic intensity: if it is low, memory and not arithmetic determines the time."""
        return self.macs / self.moved_bytes if self.moved_bytes else 0.0


@dataclass(frozen=True)
class Cost:
    """The cost of one inference pass on one input; `str()` is a table, `layers` has every module.

    Args:
        params: All parameters, trainable or not, shared ones once.
        weights: Those that are kernels and matrices: no biases, no norm scales.
        macs: Multiply-adds, or the operations of the profile, for the whole batch.
        interactions: Channel interactions of the convolutions.
        activation_bytes: All tensors the pass creates, which training may have to keep.
        peak_activation_bytes: The most of them alive at once without gradients, including input.
        training_peak_bytes: The most alive at once in a forward and backward pass, of weights,
            buffers, gradients, input and activations; norms and dropout are as in inference, and
            there is no optimizer. None if `count` was not asked for it, nothing can be trained, or
            meta tensors have no backward.
        moved_bytes: Bytes all calls read and write, as if each went to memory and back.
        model_bytes: The parameters as stored, without buffers.
        buffer_bytes: The rest of a state_dict, such as running means.
    """

    profile: str
    input_shapes: tuple[tuple[int, ...], ...]
    params: int
    weights: int
    macs: int
    interactions: int
    activation_bytes: int
    peak_activation_bytes: int
    training_peak_bytes: int | None
    moved_bytes: int
    model_bytes: int
    buffer_bytes: int
    layers: tuple[LayerCost, ...]

    @property
    def flops(self) -> int:
        """Always two per multiply-add."""
        return 2 * self.macs

    def stages(self, depth: int = 1) -> tuple[LayerCost, ...]:
        """The layers summed by the first `depth` names of their paths, in the order they ran."""
        groups: dict[str, list[LayerCost]] = {}
        for layer in self.layers:
            path = ".".join(layer.path.split(".")[:depth])
            groups.setdefault(path, []).append(layer)
        return tuple(_sum(path, layers) for path, layers in groups.items())

    def table(self, stages: int | None = None, width: int | None = None) -> str:
        """Aligned text for people, layer by layer or in stages of that depth.

        Args:
            width: The most characters of a line: longer names are cut, other columns follow below.
        """
        return cost_table(self, self._rows(stages), width)

    def csv(self, stages: int | None = None) -> str:
        """Comma-separated values, layer by layer or in stages of that depth."""
        return cost_csv(self._rows(stages))

    def to_dict(self, stages: int | None = None) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts, ready for JSON; "layers" as in `csv`."""
        row = {name: value for name, value in vars(self).items() if name != "layers"}
        row["input_shapes"] = [list(shape) for shape in self.input_shapes]
        layers = [asdict(layer) for layer in self._rows(stages)]
        plain = [layer | {"output_shape": list(layer["output_shape"])} for layer in layers]
        return row | {"flops": self.flops, "layers": plain}

    def _rows(self, stages: int | None) -> tuple[LayerCost, ...]:
        return self.layers if stages is None else self.stages(stages)

    def __str__(self) -> str:
        return self.table()


def _sum(path: str, layers: list[LayerCost]) -> LayerCost:
    """Under the name of the module at `path`, which comes before its children where it runs."""
    first, last = layers[0], layers[-1]
    own = first.path == path
    counts = [sum(getattr(layer, name) for layer in layers) for name in COUNTS]
    kind = first.type if own else f"{len(layers)} modules"
    return LayerCost(path, kind, (first if own else last).output_shape, *counts)
