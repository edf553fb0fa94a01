"""torch.fx records every operator as one call."""

import pickle

import pytest
import torch
from op_variants import TRANSPOSED, VARIANTS, build, volume
from torch import fx, nn

from lean3d.models import create_model

every_operator = pytest.mark.parametrize("variant", [*VARIANTS, *TRANSPOSED])


class Twice(nn.Module):
    def __init__(self, op):
        super().__init__()
        self.op = op

    def forward(self, x):
        return self.op(x) + self.op(x * 2).relu()


@every_operator
def test_a_symbolic_trace_calls_the_operator_by_its_path(variant):
    model = Twice(build(variant, kernel_size=3, padding=1)).eval()
    graph = fx.symbolic_trace(model)
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["op", "op"]
    for size in ((3, 6, 7), (8, 9, 10)):
        x = volume(2, 4, *size)
        torch.testing.assert_close(graph(x), model(x))
    graph(x).mean().backward()
    assert all(weight.grad is not None for weight in model.parameters())
    torch.testing.assert_close(pickle.loads(pickle.dumps(graph))(x), model(x))


def test_hooks_run_with_the_graph_and_not_while_it_is_recorded():
    model, seen = Twice(build("acs", kernel_size=3)), []
    model.op.register_forward_hook(lambda module, inputs, output: seen.append(type(output)))
    graph = fx.symbolic_trace(model)
    assert seen == []
    graph(volume(1, 4, 5, 6, 7))
    assert seen == [torch.Tensor] * 2


def test_a_network_of_operators_is_recorded_with_an_argument_by_name():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.op = build("planar_0", kernel_size=3)

        def forward(self, x):
            return self.op(input=x)

    model, x = Named(), volume(1, 4, 5, 6, 7)
    torch.testing.assert_close(fx.symbolic_trace(model)(x), model(x))


def test_a_model_that_checks_its_axes_is_recorded():
    model, x = create_model("mc3_18", num_classes=5).eval(), volume(1, 3, 4, 16, 16)
    torch.testing.assert_close(fx.symbolic_trace(model)(x), model(x))
