"""The trainer's settings for one process or several."""

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.plugins.environments import ClusterEnvironment, LightningEnvironment
from lightning.pytorch.plugins.layer_sync import LayerSync, TorchSyncBatchNorm
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lean3d.processes import place, pooled
from lean3d.train.settings import Strategy
from lean3d.train.sharded import Sharded

__all__ = ["ShareStatistics", "many"]


def many(strategy: Strategy, sync_batchnorm: bool) -> dict[str, Any]:
    """Return what `Trainer` takes for the processes that there are."""
    own = place()
    if own.size == 1:
        # one process, whatever SLURM says: with its own way to go on, Lightning writes
        # a checkpoint at SIGUSR1 and would start from any that lies in this folder
        return dict(devices=1, plugins=[LightningEnvironment()], use_distributed_sampler=False)
    plugins: list[Any] = [Joined(), *([SyncBatchNorm()] if sync_batchnorm else [])]
    return dict(
        devices=own.here,
        num_nodes=own.nodes,
        strategy=Sharded() if strategy == "fsdp" else _ddp(),
        plugins=plugins,
        # the loaders of a recipe give each process its share
        use_distributed_sampler=False,
    )


def _ddp() -> DDPStrategy:
    # Parameters may be left out of a step: frozen in some stages, or of a part that is not run.
    # Buckets then stay as they are, too, and a resumed run adds in the same order. Statistics are
    # shared once an epoch: in validation, processes have different numbers of steps.
    return DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)


class Joined(ClusterEnvironment):
    """The processes that `lean3d.processes` joined."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        # the group has met already
        return 0

    @staticmethod
    def detect() -> bool:
        return place().size > 1

    def world_size(self) -> int:
        return place().size

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return place().rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return place().local

    def node_rank(self) -> int:
        return place().rank // place().here


class ShareStatistics(pl.Callback):
    """Gives all processes the same buffers at the end of an epoch, before its validation.

    Running means and variances become those of all processes; other buffers are those of process 0.
    """

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *a: Any) -> None:
        if place().size == 1 or not trainer.is_last_batch:
            return
        running = {id(buffer) for buffer in _running(module)}
        with torch.no_grad():
            for buffer in module.buffers():
                if id(buffer) in running:
                    dist.all_reduce(buffer)
                    buffer /= place().size
                else:
                    dist.broadcast(buffer, 0)


def _running(module: nn.Module) -> Iterator[Tensor]:
    for part in module.modules():
        if isinstance(part, _NormBase) and part.running_mean is not None:
            assert part.running_var is not None
            yield from (part.running_mean, part.running_var)


class SyncBatchNorm(LayerSync):
    """Batch norms over the samples of all processes: PyTorch's on GPUs, where it has one."""

    def apply(self, model: nn.Module) -> nn.Module:
        if torch.cuda.is_available() and next(model.parameters()).is_cuda:
            return TorchSyncBatchNorm().apply(model)
        for module in model.modules():
            if kind := SHARED.get(type(module)):
                module.__class__ = kind
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        shared = {kind: plain for plain, kind in SHARED.items()}
        for module in model.modules():
            if plain := shared.get(type(module)):
                module.__class__ = plain
        return TorchSyncBatchNorm().revert(model)


class _Shared(nn.modules.batchnorm._BatchNorm):
    """A batch norm over the samples of all processes, on any device."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not torch.is_grad_enabled():
            return super().forward(x)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        count = place().size * x.numel() / x.shape[1]
        mean = pooled(x.sum(axes)) / count
        less = x - mean.view(shape)
        variance = pooled(less.square().sum(axes)) / count
        if self.track_running_stats and self.running_mean is not None:
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            with torch.no_grad():
                self.num_batches_tracked += 1
                share = self.momentum
                if share is None:
                    share = 1 / float(self.num_batches_tracked)
                unbiased = variance * count / max(count - 1, 1)
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)
        normal = less * (variance + self.eps).rsqrt().view(shape)
        if not self.affine:
            return normal
        return normal * self.weight.view(shape) + self.bias.view(shape)


class _Shared1d(_Shared, nn.BatchNorm1d):
    pass


class _Shared2d(_Shared, nn.BatchNorm2d):
    pass


class _Shared3d(_Shared, nn.BatchNorm3d):
    pass


SHARED: dict[type, type] = {
    nn.BatchNorm1d: _Shared1d,
    nn.BatchNorm2d: _Shared2d,
    nn.BatchNorm3d: _Shared3d,
}
