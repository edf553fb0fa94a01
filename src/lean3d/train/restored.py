"""Refuse a checkpoint whose state is not one of this trainer, before the first step.

The trainer restores counters, optimizers and schedules of any content, and fails in a later step.
What it restored is compared with what it made itself: names, types, shapes, and finite values.
"""

import copy
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lean3d.train.checkpoints import not_resumable
from lean3d.train.history import History

__all__ = ["CheckRestored"]

# counts that torch keeps in 64 bits; a schedule counts from -1
FIRST, MOST = -1, 2**63


class CheckRestored(pl.Callback):
    """Compares the restored state of a trainer with its own.

    Args:
        path: The checkpoint, for the message.
        history: Restored too; it has a row for each epoch.
    """

    def __init__(self, path: Path, history: History):
        self.path, self.history = path, history

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.own = _parts(trainer)
        self.steps = [_after_a_step(optimizer) for optimizer in trainer.optimizers]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if wrong := _differs(_parts(trainer), self.own, "") or self._wrong_steps(trainer):
            raise not_resumable(self.path, wrong)
        if trainer.current_epoch != len(self.history.rows):
            raise not_resumable(
                self.path,
                f"it counts {trainer.current_epoch} epochs and has the metrics of "
                f"{len(self.history.rows)}",
            )

    def _wrong_steps(self, trainer: pl.Trainer) -> str | None:
        for optimizer, expected in zip(trainer.optimizers, self.steps, strict=True):
            for key, state in optimizer.state_dict()["state"].items():
                if expected is None:
                    continue
                where = f"the optimizer's state of parameter {key}"
                if wrong := _differs(state, expected.get(key), where):
                    return wrong
        return None


def _parts(trainer: pl.Trainer) -> dict[str, Any]:
    groups = [optimizer.state_dict()["param_groups"] for optimizer in trainer.optimizers]
    schedules = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
    loops = trainer.fit_loop.state_dict()
    return copy.deepcopy({"optimizer": groups, "schedule": schedules, "loops": loops})


def _after_a_step(optimizer: torch.optim.Optimizer) -> dict[Any, Any] | None:
    """Return the state of each parameter after a step, without values; None if it cannot be had."""
    like = copy.copy(optimizer)
    old: list[dict[str, Any]] = optimizer.param_groups
    groups = [{**group, "params": list(map(_shape, group["params"]))} for group in old]
    like.__dict__ = {**optimizer.__dict__, "param_groups": groups, "state": defaultdict(dict)}
    try:
        # its own step may be one that the schedule and the trainer count
        type(like).step(like)
        return dict(like.state_dict()["state"])
    except Exception:  # a user's optimizer may want values, or a closure
        return None


def _shape(parameter: Tensor) -> Tensor:
    shape = torch.empty_like(parameter, device="meta", requires_grad=True)
    shape.grad = torch.empty_like(shape, requires_grad=False)
    return shape


def _differs(found: Any, own: Any, where: str) -> str | None:
    """Say where `found` is not of the kind of `own`; None if it is."""
    if isinstance(own, Mapping):
        if not isinstance(found, Mapping):
            return _unlike(found, where)
        for key, value in own.items():
            if key not in found:
                return f"{_inside(where, key)} is missing"
            if wrong := _differs(found[key], value, _inside(where, key)):
                return wrong
        return None
    if isinstance(own, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(own):
            return _unlike(found, where)
        pairs = enumerate(zip(found, own, strict=True))
        wrongs = (_differs(*pair, _inside(where, place)) for place, pair in pairs)
        return next((wrong for wrong in wrongs if wrong), None)
    fits = _fits_tensor(found, own) if isinstance(own, Tensor) else _fits(found, own)
    return None if fits else _unlike(found, where)


def _inside(where: str, key: Any) -> str:
    return f"{where}.{key}".lstrip(".")


def _unlike(found: Any, where: str) -> str:
    if isinstance(found, Tensor):
        kind = str(found.dtype).removeprefix("torch.")
        shown = f"a tensor {tuple(found.shape)} of {kind}"
    else:
        shown = repr(found) if isinstance(found, int | float | None) else type(found).__name__
    return f"{where} is {shown[:60]}, which no training writes"


def _fits_tensor(found: Any, own: Tensor) -> bool:
    if not isinstance(found, Tensor) or found.layout != torch.strided or found.is_meta:
        return False
    kinds = found.shape == own.shape and found.dtype == own.dtype
    return kinds and bool(found.isfinite().all())


def _fits(found: Any, own: Any) -> bool:
    if isinstance(own, bool):
        return isinstance(found, bool)
    if own is None:
        return found is None or isinstance(found, bool)
    if isinstance(own, int):
        return type(found) is int and FIRST <= found < MOST
    if isinstance(own, float):
        # the best loss so far is infinite at first
        number = type(found) in (int, float) and abs(found) < MOST
        return number or (math.isinf(own) and found == own)
    return found == own if isinstance(own, str) else isinstance(found, type(own))
