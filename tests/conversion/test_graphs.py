"""GraphModules of torch.fx are converted like other modules, and stay GraphModules."""

import copy
import inspect
import pickle

import pytest
import torch
import torch.nn.functional as F
from flat_models import SqueezeExcite
from torch import fx, nn

from lean3d.conversion import ACS, ConversionError, Planar, convert


class Shuffled(nn.Module):
    """Speaks 2D in both ways."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate = nn.Conv2d(3, 8, 3, padding=1), SqueezeExcite(8)

    def forward(self, x):
        y = self.gate(self.conv(x))
        batch, channels, height, width = y.shape
        y = y.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        return F.max_pool2d(y.reshape(batch, channels, height, width), 2)


def traced():
    torch.manual_seed(0)
    return fx.symbolic_trace(Shuffled()).eval()


def test_a_traced_forward_answers_as_the_one_it_was_traced_from():
    flat = traced()
    module = Shuffled().eval()
    module.load_state_dict(flat.state_dict())
    x = torch.randn(2, 3, 6, 8, 10)
    deep = convert(flat, ACS())
    assert isinstance(deep, fx.GraphModule)
    assert deep.conversion.grade == "isotropic"
    torch.testing.assert_close(deep(x), convert(module, ACS())(x))


def test_copies_of_a_folded_graph_are_folded_and_keep_the_record():
    deep, x = convert(traced(), ACS()), torch.randn(2, 3, 6, 8, 10)
    for other in (copy.deepcopy(deep), pickle.loads(pickle.dumps(deep)), copy.deepcopy(deep)):
        torch.testing.assert_close(other(x), deep(x))
        assert str(other.conversion) == str(deep.conversion)
        torch.testing.assert_close(copy.deepcopy(other)(x), deep(x))


def test_a_folded_graph_may_be_edited():
    deep, x = convert(traced(), ACS()), torch.randn(2, 3, 6, 8, 10)
    expected = deep(x)
    for node in list(deep.graph.nodes):
        if node.op == "output":
            with deep.graph.inserting_before(node):
                double = deep.graph.call_function(torch.add, (node.args[0], node.args[0]))
            node.args = (double,)
    deep.recompile()
    torch.testing.assert_close(deep(x), 2 * expected)


def test_a_graph_stays_as_it_was_and_says_nothing(capsys):
    flat, x = traced(), torch.randn(2, 3, 6, 8)
    before = flat(x)
    convert(flat, Planar())
    assert torch.equal(flat(x), before)
    assert capsys.readouterr() == ("", "")


def test_a_folded_module_is_recorded_as_one_call():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = Shuffled(), nn.Conv2d(8, 4, 1)

        def forward(self, x):
            return self.head(self.inner(x))

    deep, x = convert(Outer().eval(), ACS()), torch.randn(1, 3, 6, 8, 10)
    graph = fx.symbolic_trace(deep)
    calls = [node.target for node in graph.graph.nodes if node.op == "call_module"]
    assert calls == ["inner", "head"]
    torch.testing.assert_close(graph(x), deep(x))


def test_a_folded_model_is_to_be_traced_before():
    with pytest.raises(ConversionError, match="trace the 2D model first and convert the graph"):
        fx.symbolic_trace(convert(Shuffled().eval(), ACS()))


def test_a_folded_forward_keeps_its_arguments():
    assert list(inspect.signature(convert(Shuffled().eval(), ACS()).forward).parameters) == ["x"]
