"""Learn from a teacher besides the labels: its outputs, and the outputs of its blocks.

Papers: Hinton et al., arXiv:1503.02531 (a teacher); Ba and Caruana, arXiv:1312.6184 (its logits as
they are); Romero et al. (FitNets), arXiv:1412.6550 (its hidden maps).

Axes: B batch, then any.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.errors import RunError
from lean3d.tasks.learner import Learner

__all__ = ["distil"]

TINY, RIDGE = 1e-12, 1e-4


def distil(task: Learner, teacher: nn.Module, blocks: Sequence[str], weight: float) -> Learner:
    """Let a task learn from a teacher as well, and return it.

    To the task's loss are added, times `weight`, the squared distance of the model's output to the
    teacher's, and the mean of those of the blocks, each over the variance of the teacher's. Of a
    block of fewer channels it is that of their affine map nearest to the teacher's, of each batch.
    The weights of the task, and their names, stay as they are; the teacher is not among them.

    Args:
        teacher: Takes the same inputs; it is used in eval mode.
        blocks: Paths of modules of both whose outputs are of equal shapes but for the channels.

    Raises:
        RunError: one of the networks has no such module, or `weight` is below 0.
    """
    if weight < 0:
        raise RunError(f"the weight of a teacher is 0 or more, got {weight}")
    names = [dict(network.named_modules()).keys() for network in (task.model, teacher)]
    for path in blocks:
        if not all(path in known for known in names):
            raise RunError(f"there is no block {path} in both the model and its teacher")
    kind = type(task)
    taught: Any = task
    taught.__class__ = type(f"Distilled{kind.__name__}", (_Taught, kind), {})
    # in a list, so that it is no part of the module
    taught.taught_by = [teacher.eval().requires_grad_(False)]
    taught.blocks, taught.distil_weight = tuple(blocks), weight
    return task


class _Taught(Learner):
    """The training step of a task with a teacher."""

    taught_by: list[nn.Module]
    blocks: tuple[str, ...]
    distil_weight: float

    def training_step(self, batch: Any, index: int) -> Tensor:
        given: list[Tensor] = []
        with _outputs(self.model, ("", *self.blocks), given) as own:
            step: Any = super()
            loss: Tensor = step.training_step(batch, index)
        (teacher,) = self.taught_by
        teacher.to(given[0].device)
        with torch.no_grad(), _outputs(teacher, ("", *self.blocks), []) as wanted:
            teacher(given[0])
        parts = {path: _distance(own[path], wanted[path]) for path in own}
        lost = parts.pop("")
        if parts:
            lost = lost + torch.stack(list(parts.values())).mean()
        self.log_training("train_distillation", lost.detach(), len(given[0]), prog_bar=False)
        return loss + self.distil_weight * lost


def _distance(found: Tensor, wanted: Tensor) -> Tensor:
    wanted, found = wanted.float(), found.float()
    if found.shape[1] != wanted.shape[1]:
        found, wanted = _mapped(found, wanted)
    return (found - wanted).square().mean() / wanted.var().clamp_min(TINY)


def _mapped(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the affine map of (B, C, ...) nearest to (B, C', ...), and that, both as (N, C').

    The map itself takes no gradient: at the nearest one it would be 0.
    """
    with torch.autocast(found.device.type, enabled=False):
        rows_NC, wanted_NC = (x.movedim(1, -1).flatten(0, -2) for x in (found, wanted))
        with torch.no_grad():
            own_NC = rows_NC - rows_NC.mean(0)
            gram = own_NC.mT @ own_NC
            gram.diagonal().add_(RIDGE * gram.diagonal().mean().clamp_min(TINY))
            map_CC = torch.linalg.solve(gram, own_NC.mT @ wanted_NC)
            shift_C = wanted_NC.mean(0) - rows_NC.mean(0) @ map_CC
        return torch.addmm(shift_C, rows_NC, map_CC), wanted_NC


@contextmanager
def _outputs(
    model: nn.Module, paths: Sequence[str], given: list[Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Yield the outputs by path, filled while the model runs, and add its input to `given`."""
    found: dict[str, Tensor] = {}
    handles = []
    for path in paths:

        def hook(module: nn.Module, args: Any, output: Tensor, path: str = path) -> None:
            # the next module may write into it
            found[path] = output.clone() if path else output
            if not path:
                given.append(args[0])

        handles.append(model.get_submodule(path).register_forward_hook(hook))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
