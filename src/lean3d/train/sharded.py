"""Shard weights and the optimizer's state over the processes: fsdp.

Lightning's ModelParallelStrategy with torch's fully_shard (FSDP2), on CPUs and GPUs alike.
Paper: Zhao et al., PyTorch FSDP, arXiv:2304.11277
"""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.strategies.strategy import Strategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from lean3d.errors import RunError
from lean3d.processes import place

__all__ = ["Sharded", "check_shardable"]


class Sharded(ModelParallelStrategy):
    """Every process keeps a shard of each weight and of the optimizer's state.

    Checkpoints are those of one process: a run goes on from them with any strategy.
    """

    def __init__(self) -> None:
        super().__init__(place().size, 1, save_distributed_checkpoint=False)

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def setup_environment(self) -> None:
        super().setup_environment()
        # before parameters are sharded: this may put other modules in the place of batch norms
        self.model_to_device()
        if self._layer_sync:
            assert self.model is not None
            self.model = self._layer_sync.apply(self.model)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        state: dict[str, Any] = tree_map_only(DTensor, _whole, optimizer.state_dict())
        return state

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> Any:
        # the file of one process, which ModelParallelStrategy reads by names of its own
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        assert self.model is not None
        options = StateDictOptions(full_state_dict=True, strict=strict)
        set_model_state_dict(self.model, checkpoint["state_dict"], options=options)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        found = zip(self.optimizers, checkpoint["optimizer_states"], strict=True)
        for optimizer, state in found:
            optimizer.load_state_dict({**state, "state": _sharded(state["state"], optimizer)})


def check_shardable(task: pl.LightningModule) -> None:
    """Refuse a task whose weights cannot be sharded.

    Raises:
        RunError: it does not say which modules to shard, or a parameter is a single number.
    """
    if not is_overridden("configure_model", task):
        raise RunError(
            f"strategy fsdp needs a task that shards its modules in configure_model, as those of "
            f"lean3d.tasks do; {type(task).__name__} does not"
        )
    for name, parameter in task.named_parameters():
        if parameter.ndim == 0:
            raise RunError(
                f"strategy fsdp cannot shard {name}, a single number; make it one of shape (1,), "
                "or train with ddp"
            )


def _whole(shard: DTensor) -> Tensor:
    return shard.full_tensor().cpu()


def _sharded(state: Mapping[Any, Any], optimizer: Optimizer) -> dict[Any, Any]:
    """Return the state of each parameter in the shards of its parameter."""
    params = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def shard(key: Any, value: Any) -> Any:
        like = params[key]
        if not isinstance(like, DTensor) or getattr(value, "shape", None) != like.shape:
            return value
        value = value.to(like.device, like.dtype)
        return distribute_tensor(value, like.device_mesh, like.placements)

    return {key: {n: shard(key, v) for n, v in own.items()} for key, own in state.items()}
