"""Match the tensors of a file with those of a model, and list the differences."""

import re
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lean3d.checkpoints.format import Tensors
from lean3d.conversion.to3d.in_channels import deal

__all__ = ["Match", "match"]

# the last layers, whose shape may depend on the classes, and which another network may lack
HEAD = re.compile(r"(conv_last|fc|classifier|head|linear|proj|conv_seg)\.")


@dataclass(frozen=True)
class Match:
    """Names by result; the head is separate, because it depends on the classes.

    Args:
        values: Tensors to load into the model.
        missing: In the model and not in the file, or of a head that the file fills in part.
        unknown: In the file and not in the model.
        misshapen: In both, with other shapes: name -> shape in the file, shape in the model.
    """

    values: dict[str, Tensor] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    @property
    def fresh(self) -> list[str]:
        """The model's tensors that the file does not fill."""
        return [*self.missing, *self.misshapen]

    def problems(self, spare: str) -> list[str]:
        """The differences between the file and the model except for the head, most severe first."""
        wrong = [
            f"{name} has shape {there} in the file and {here} in the model"
            for name, (there, here) in self.misshapen.items()
            if not HEAD.match(name)
        ]
        absent = [f"{name} is not in the file" for name in self.missing if not HEAD.match(name)]
        extra = [
            f"{name} is not in the model"
            for name in self.unknown
            if not HEAD.match(name) and not re.match(spare, name)
        ]
        return [*wrong, *absent, *extra]

    def classes(self) -> tuple[int, int] | None:
        """Classes of the file and of the model, if their heads differ in nothing else."""
        for there, here in self.misshapen.values():
            if there[1:] == here[1:]:
                return there[0], here[0]
        return None


def match(
    model: nn.Module, tensors: Tensors, *, inflate: bool = False, new_channels: bool = False
) -> Match:
    """Compare names and shapes; counts of batches are loaded if both have them.

    Args:
        inflate: Repeat 2D kernels over the frames of the model's.
        new_channels: Distribute the first kernel over the channels of the model's.
    """
    found, own = Match(), model.state_dict()
    first = next((name for name, here in own.items() if here.ndim > 3), None)
    for name, here in own.items():
        if name in tensors:
            value = _fitted(tensors[name], here, model, name)
            value = _inflated(value, here) if inflate else value
            value = _dealt(value, here) if new_channels and name == first else value
            if value.shape == here.shape:
                found.values[name] = value
            else:
                found.misshapen[name] = tuple(value.shape), tuple(here.shape)
        elif not _counts(name):
            found.missing.append(name)
    found.unknown.extend(name for name in tensors if name not in own and not _counts(name))
    partly = {name.rpartition(".")[0] for name in found.fresh if HEAD.match(name)}
    for name in [name for name in found.values if name.rpartition(".")[0] in partly]:
        # a weight of one training beside a bias of none
        del found.values[name]
        found.missing.append(name)
    return found


def _counts(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _fitted(value: Tensor, here: Tensor, model: nn.Module, name: str) -> Tensor:
    """Squeeze a 2D kernel that was stored flat along its missing axis."""
    if (value.ndim, here.ndim) == (5, 4):
        axis = getattr(model.get_submodule(name.rpartition(".")[0]), "axis", None)
        if axis is not None and value.shape[2 + axis] == 1:
            return value.squeeze(2 + axis)
    return value


def _dealt(value: Tensor, here: Tensor) -> Tensor:
    """Distribute a kernel over other input channels: equal ones give what they gave."""
    ends = value.shape[:1] + value.shape[2:], here.shape[:1] + here.shape[2:]
    if value.ndim != here.ndim or ends[0] != ends[1]:
        return value
    return torch.einsum("oc...,nc->on...", value, deal(value.shape[1], here.shape[1]).to(value))


def _inflated(value: Tensor, here: Tensor) -> Tensor:
    if (value.ndim, here.ndim) == (4, 5) and value.shape == here[:, :, 0].shape:
        return value.unsqueeze(2).expand_as(here) / here.shape[2]
    return value
