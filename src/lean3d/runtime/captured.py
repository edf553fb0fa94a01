"""Calls recorded as CUDA graphs: one launch in place of one for every kernel."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

__all__ = ["Captured"]

# calls before a recording, in which libraries choose their kernels
WARM_UP = 3


class Captured:
    """A callable on a GPU, recorded when a size of its inputs is first met; safe in threads.

    Args:
        call: Takes any structure of tensors; its output depends on them alone, and it must not
            read values on the host.
        kept: Number of sizes whose recordings are kept, with the memory they hold.
    """

    def __init__(self, call: Callable[..., Any], kept: int = 4):
        self.call, self.kept = call, kept
        self._recordings: OrderedDict[Any, Recording] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, *inputs: Any) -> Any:
        leaves, spec = tree_flatten(inputs)
        if not all(isinstance(x, Tensor) and x.device.type == "cuda" for x in leaves):
            return self.call(*inputs)
        case = tuple((x.shape, x.dtype, x.device, x.stride()) for x in leaves)
        with self._lock:
            recording = self._recordings.get(case)
            if recording is None or recording.spec != spec:
                recording = self._recordings[case] = Recording(self.call, leaves, spec)
                while len(self._recordings) > self.kept:
                    self._recordings.popitem(last=False)
            self._recordings.move_to_end(case)
            return recording.run(leaves)


class Recording:
    """A CUDA graph, with the memory of its inputs and outputs."""

    def __init__(self, call: Callable[..., Any], leaves: Sequence[Tensor], spec: Any):
        self.spec = spec
        # memory that is written to in any mode
        with torch.inference_mode(False):
            self.inputs = [x.clone() for x in leaves]
        arguments = tree_unflatten(self.inputs, spec)
        here = torch.cuda.current_stream()
        aside = torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside), torch.no_grad():
            for _ in range(WARM_UP):
                call(*arguments)
        here.wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.output = call(*arguments)
        self.done = torch.cuda.Event()
        self.done.record()

    def run(self, leaves: Sequence[Tensor]) -> Any:
        """Return the output for these inputs, in memory of its own."""
        # another thread may have called on another stream
        self.done.wait()
        for own, x in zip(self.inputs, leaves, strict=True):
            own.copy_(x)
        self.graph.replay()
        output = tree_map(lambda y: y.clone() if isinstance(y, Tensor) else y, self.output)
        self.done.record()
        return output
