"""Base class of the tasks: a model, its optimizer and the learning rate's schedule."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal, get_args

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lean3d.errors import RunError
from lean3d.ops.fast_gradients import ordinary_, with_fast_gradients_
from lean3d.ops.memory_layout import channels_last, channels_last_
from lean3d.processes import Place, place, placed, total
from lean3d.tasks.in_training import (
    Changed,
    full_precision_head_,
    recompute_blocks_,
    restore_,
)
from lean3d.tasks.parts import check_parts, is_part, part_scale

__all__ = ["Learner", "check_classes"]

Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "cosine", "cosine_step", "poly", "steps", "plateau"]
# schedules that the epoch decides; shares of the epochs at which "steps" divides the rate by ten
BY_EPOCH, STEPS = ("cosine", "poly", "steps"), (0.5, 0.75)
# exponent of the polynomial schedule: DeepLab, nnU-Net
POWER = 0.9


class Learner(pl.LightningModule):
    """A model under training. A task adds the loss and the score `monitor`, higher is better.

    Scores are of the samples of all processes that train together.

    Args:
        momentum: Of sgd only.
        nesterov: Nesterov's momentum; of sgd only.
        schedule: Of the learning rate: constant; half a cosine to 0 at the last epoch, by epochs,
            or by steps from the end of the warm-up on (cosine_step); poly, the
            share of epochs that is left to the power of 0.9; a tenth whenever val_loss has not
            fallen for three epochs, three times at most; or in steps, a tenth from half of the
            epochs on and a hundredth from three quarters on.
        steps: Epochs from which the schedule "steps" has a tenth each, instead.
        warmup: Steps over which the rate rises to that of the schedule.
        warmup_epochs: Epochs over which it rises, instead.
        channels_last: Keep kernels and inputs channels last in memory.
        checkpointing: Compute blocks again in the backward pass instead of keeping their values.
        freeze: Names of modules or parameters that are not trained, with all below them; their
            batch norms keep their statistics.
        lr_scale: Factors of the learning rate by such names; the longest name counts.
    """

    monitor: str
    # sum of the losses of validation so far, and number of its samples
    losses: Tensor
    # makes the inputs of a batch on the device of the model, of what the loader gives
    prepare: Callable[[Any], Tensor] | None = None

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer: Optimizer = "adam",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        nesterov: bool = False,
        schedule: Schedule = "constant",
        steps: Sequence[int] = (),
        warmup: int = 0,
        warmup_epochs: int = 0,
        channels_last: bool = False,
        checkpointing: bool = False,
        freeze: Sequence[str] = (),
        lr_scale: Mapping[str, float] | None = None,
    ):
        super().__init__()
        self.frozen, self.lr_scale = tuple(freeze), dict(lr_scale or {})
        check_parts(model, [*self.frozen, *self.lr_scale])
        _check("optimizer", optimizer, get_args(Optimizer))
        _check("schedule", schedule, get_args(Schedule))
        self.model = channels_last_(model) if channels_last else model
        self.freeze_parts()
        self.optimizer, self.lr = optimizer, lr
        self.weight_decay, self.momentum, self.nesterov = weight_decay, momentum, nesterov
        self.steps = tuple(steps)
        self.schedule, self.warmup, self.channels_last = schedule, warmup, channels_last
        self.warmup_epochs, self.changed = warmup_epochs, 1.0
        self.checkpointing = checkpointing
        if checkpointing:
            restore_(recompute_blocks_(model))  # refuses a network without blocks
        self._in_training: Changed = []
        self._placed = ExitStack()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(channels_last(x) if self.channels_last else x)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch if self.prepare is None else (self.prepare(batch[0]), *batch[1:])

    def configure_model(self) -> None:
        """Shard the weights over the processes, where the trainer's strategy is fsdp."""
        if self.device_mesh is None:
            return
        from torch.distributed.fsdp import fully_shard

        for unit in self.units():
            for parameter in unit.parameters():
                # shards of any other layout cannot be put together
                parameter.data = parameter.data.contiguous()
            fully_shard(unit, mesh=self.device_mesh["data_parallel"])

    def units(self) -> list[nn.Module]:
        """Return the modules that learn, each of which a step calls as a whole."""
        return [self.model]

    def setup(self, stage: str) -> None:
        """Take the processes of a trainer that lean3d did not start for those of the run."""
        self._placed.close()
        trainer = self.trainer
        if trainer.world_size > 1 and place().size == 1:
            here = (trainer.local_rank, trainer.world_size // trainer.num_nodes)
            own = Place(trainer.global_rank, trainer.world_size, *here)
            self._placed.enter_context(placed(own))

    def teardown(self, stage: str) -> None:
        self._placed.close()

    def on_fit_start(self) -> None:
        with_fast_gradients_(self.model)
        self._in_training = full_precision_head_(self.model)
        if self.checkpointing:
            self._in_training += recompute_blocks_(self.model)

    def on_fit_end(self) -> None:
        restore_(self._in_training)
        ordinary_(self.model)

    def freeze_parts(self) -> None:
        """Keep the parameters of `freeze` from training."""
        for name, parameter in self.model.named_parameters():
            if any(is_part(name, part) for part in self.frozen):
                parameter.requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        for path, module in self.model.named_modules():
            if any(is_part(path, part) for part in self.frozen):
                module.eval()

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        warmup = self.warmup or (self.warmup_epochs and int(self.warmup_epochs * self._steps()))
        if self.global_step <= warmup and warmup:
            share = (self.global_step + 1) / (warmup + 1)
            share *= self._share(self.current_epoch) if self.schedule in BY_EPOCH else 1
        elif self.schedule == "cosine_step":
            whole = self._steps() * (self.trainer.max_epochs or 1) - warmup
            share = (1 + math.cos(math.pi * (self.global_step - warmup) / max(whole, 1))) / 2
        else:
            return
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = share * group.get("scale", 1.0) * self.lr

    def _steps(self) -> int:
        """Of an epoch."""
        batches = int(self.trainer.num_training_batches)
        return -(-batches // self.trainer.accumulate_grad_batches)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Let the last step of an epoch count its batches, if they are fewer than the others'."""
        wanted = self.trainer.accumulate_grad_batches
        found = (self.trainer.fit_loop.batch_idx + 1) % wanted
        if not found:
            return
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad *= wanted / found

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["rate"] = self.lr

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # another number of processes may have another rate
        self.changed = self.lr / (checkpoint.get("rate") or self.lr or 1)

    def on_train_start(self) -> None:
        factor, self.changed = self.changed, 1.0
        if factor == 1:
            return
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] *= factor
            if "initial_lr" in group:
                group["initial_lr"] *= factor
        for config in self.trainer.lr_scheduler_configs:
            if hasattr(config.scheduler, "base_lrs"):
                config.scheduler.base_lrs = [rate * factor for rate in config.scheduler.base_lrs]

    def log_training(self, name: str, value: Tensor, size: int, prog_bar: bool = True) -> None:
        """Log the mean over an epoch of a value of its batches, of `size` samples each."""
        settings: Any = dict(on_epoch=True, on_step=False, sync_dist=True)
        self.log(name, value, prog_bar=prog_bar, batch_size=size, **settings)

    def validated(self, loss: Tensor, size: int) -> None:
        """Add the loss of a batch of validation, the mean over `size` samples, to `val_loss`."""
        self.losses = self.losses + torch.stack(
            [loss.float() * size, loss.new_tensor(size).float()]
        )

    def on_validation_epoch_end(self) -> None:
        sum_, size = total(self.losses)
        self.log("val_loss", sum_ / size, prog_bar=True)

    def on_validation_epoch_start(self) -> None:
        self.losses = torch.zeros(2, device=self.device)

    def configure_optimizers(self):
        optimizer = self._optimizer()
        if self.schedule in ("constant", "cosine_step"):
            return optimizer
        if self.schedule == "plateau":
            settings: dict[str, Any] = dict(factor=0.1, patience=3, min_lr=1e-3 * self.lr)
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **settings)
            return [optimizer], [{"scheduler": scheduler, "monitor": "val_loss"}]
        # reads the length each epoch, so that a run resumed for longer has one curve
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, self._share)]

    def _optimizer(self) -> torch.optim.Optimizer:
        trained = self._trained()
        if self.optimizer == "sgd":
            settings: dict[str, Any] = dict(momentum=self.momentum, nesterov=self.nesterov)
            return torch.optim.SGD(trained, self.lr, weight_decay=self.weight_decay, **settings)
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return kind(trained, self.lr, weight_decay=self.weight_decay)

    def learnt(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters that the optimizer has, by their names in the model."""
        yield from self.model.named_parameters()

    def _trained(self) -> list[Any]:
        """Return the parameters to train, in groups of equal rates if parts have their own."""
        named = [(n, p) for n, p in self.learnt() if p.requires_grad]
        if not named:
            raise RunError(f"freeze {' '.join(self.frozen)} leaves nothing to train; freeze less")
        if not self.lr_scale:
            return [parameter for _, parameter in named]
        factors = sorted({1.0, *self.lr_scale.values()})
        scales: dict[float, list[Any]] = {factor: [] for factor in factors}
        for name, parameter in named:
            scales[part_scale(name, self.lr_scale)].append(parameter)
        return [
            {"params": own, "lr": scale * self.lr, "scale": scale}
            for scale, own in scales.items()
            if own
        ]

    def _share(self, epoch: int) -> float:
        return self._share_of(epoch, self.trainer.max_epochs or 1)

    def _share_of(self, epoch: int, epochs: int) -> float:
        """The share of the rate in one of `epochs` epochs, by the schedule."""
        passed = epoch / epochs
        if self.schedule == "steps" and self.steps:
            return 0.1 ** sum(epoch >= step for step in self.steps)
        if self.schedule == "steps":
            return 0.1 ** sum(passed >= step for step in STEPS)
        if self.schedule == "poly":
            return max(1 - passed, 0) ** POWER
        return (1 + math.cos(math.pi * passed)) / 2


def check_classes(owner: object, num_classes: int, names: list[str], what: str = "") -> None:
    """Refuse fewer than two classes, or a wrong number of names."""
    who = type(owner).__name__
    if num_classes < 2:
        raise RunError(f"{who} needs num_classes >= 2{what}, got {num_classes}")
    if len(names) != num_classes or len(set(names)) != num_classes:
        raise RunError(f"{who} needs {num_classes} different class names, got {names}")


def _check(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        *rest, last = known
        raise RunError(f"no {what} called {name!r}; there are {', '.join(rest)} and {last}")
