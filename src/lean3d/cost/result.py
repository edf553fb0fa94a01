"""What `count` answers."""

from dataclasses import asdict, dataclass
from typing import Any

from lean3d.cost.table import cost_table

__all__ = ["Cost", "LayerCost"]


@dataclass(frozen=True)
class LayerCost:
    """One module's own share; what its children do is theirs.

    Args:
        output_shape: Of its last call; empty when the module did not run.
        params: Parameters it owns; a shared one counts at its first owner.
    """

    path: str
    type: str
    output_shape: tuple[int, ...]
    params: int
    macs: int
    interactions: int
    activation_bytes: int


@dataclass(frozen=True)
class Cost:
    """The cost of one inference pass on one input; `str()` is a table, `layers` has every module.

    Args:
        params: All parameters, trainable or not, shared ones once.
        weights: Those that are kernels and matrices: no biases, no norm scales.
        macs: Multiply-adds, or the operations of the profile, for the whole batch.
        interactions: Channel interactions of the convolutions.
        activation_bytes: All tensors the pass creates, which training may have to keep.
        peak_activation_bytes: The most of them alive at once without gradients, input included.
        model_bytes: The parameters as stored; buffers are not in it.
    """

    profile: str
    input_shapes: tuple[tuple[int, ...], ...]
    params: int
    weights: int
    macs: int
    interactions: int
    activation_bytes: int
    peak_activation_bytes: int
    model_bytes: int
    layers: tuple[LayerCost, ...]

    @property
    def flops(self) -> int:
        """Always two per multiply-add."""
        return 2 * self.macs

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts, ready for JSON."""
        row = asdict(self) | {"flops": self.flops}
        row["input_shapes"] = [list(shape) for shape in self.input_shapes]
        row["layers"] = [
            layer | {"output_shape": list(layer["output_shape"])} for layer in row["layers"]
        ]
        return row

    def __str__(self) -> str:
        return cost_table(self)
