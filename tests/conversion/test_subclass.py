"""Code before a module's own class stays with every copy, and runs on the copy's weights."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import GraphModule, symbolic_trace

from lean3d.conversion.surgery.subclass import Mixed, mixed, own_class


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return F.relu(self.conv(x))


class Doubled(Mixed):
    def forward(self, x):
        return 2 * super().forward(x)


class DoubledCall(Mixed):
    def __call__(self, x):
        return 2 * super().__call__(x)


def recompiled(graph):
    graph.recompile()
    return graph


MAKES = {"module": lambda: Net().eval(), "graph": lambda: symbolic_trace(Net().eval())}
COPIES = {
    "copy.deepcopy": copy.deepcopy,
    "copy.copy": copy.copy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "DataParallel": lambda model: model._replicate_for_data_parallel(),
    "recompile": recompiled,
}


WAYS = [(kind, way) for kind in MAKES for way in COPIES]
WAYS = [w for w in WAYS if w not in (("module", "recompile"), ("graph", "DataParallel"))]


@pytest.mark.parametrize("front", [Doubled, DoubledCall])
@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_code_before_a_class_stays(kind, way, front):
    model = MAKES[kind]()
    plain, x = copy.deepcopy(model), torch.randn(2, 1, 6, 6)
    model.__class__ = mixed(front, type(model))
    found = COPIES[way](model)
    if way != "recompile":
        # as on another device: the copy has weights of its own
        found._modules = {"conv": copy.deepcopy(plain.conv)}
        nn.init.zeros_(model.conv.weight)
    torch.testing.assert_close(found(x), 2 * plain(x))
    assert isinstance(found, front)
    assert issubclass(own_class(found), Net if kind == "module" else GraphModule)
