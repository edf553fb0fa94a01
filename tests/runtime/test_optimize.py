"""`optimize` returns an equal network, whichever backend is quickest."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn

import lean3d
from lean3d import ACS, LeanError, convert, optimize
from lean3d.ops import ACSConv3d, ChannelSeparatedConv3d
from lean3d.runtime import BACKENDS, Unavailable, register_backend
from lean3d.runtime.graph import exported

HERE = [name for name in ("onednn", "fused", "channels_last") if name in BACKENDS]


def near(found, expected, tolerance=1e-5):
    found, expected = found.detach(), expected.detach()
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


def with_statistics(model):
    """Norms that change what they are given."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return model.eval()


class Block(nn.Module):
    """A residual block; `act` is applied to the sum too."""

    def __init__(self, conv, act):
        super().__init__()
        self.first, self.second = conv(8, 8, 3, padding=1), conv(8, 8, 3, padding=1)
        self.norm, self.norm2 = nn.BatchNorm3d(8), nn.BatchNorm3d(8)
        self.act = act

    def forward(self, x):
        y = self.act(self.norm(self.first(x)))
        return self.act(self.norm2(self.second(y)) + x)


def residual(conv=nn.Conv3d):
    layers = nn.Conv3d(1, 8, 3, 2, 1), Block(conv, nn.ReLU()), Block(conv, nn.ReLU())
    head = nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 3)
    return with_statistics(nn.Sequential(*layers, *head))


ACTIVATIONS = [
    nn.ReLU(inplace=True),
    nn.ReLU6(),
    nn.LeakyReLU(0.2),
    nn.SiLU(),
    nn.Hardswish(),
    nn.Hardsigmoid(),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.GELU(),
    nn.GELU(approximate="tanh"),
    nn.ELU(),
    nn.Hardtanh(-0.5, 2),
]


@pytest.mark.slow
def test_every_activation_is_that_of_torch():
    blocks = [Block(nn.Conv3d, act) for act in ACTIVATIONS]
    model = with_statistics(nn.Sequential(nn.Conv3d(1, 8, 3, 2, 1), *blocks))
    fast = optimize(model, torch.randn(1, 1, 8, 8, 8), backends=["onednn"])
    for size in (1, 1, 8, 8, 8), (3, 1, 6, 10, 8), (1, 1, 5, 5, 3):
        x = torch.randn(size)
        near(fast.runner(x), model(x))


@pytest.mark.parametrize("conv", [ACSConv3d, ChannelSeparatedConv3d])
def test_operators_are_fused_and_equal(conv):
    model = residual(conv)
    fast = optimize(model, torch.randn(2, 1, 8, 8, 8), backends=["onednn"])
    names = [str(node.target) for node in fast.runner.graph.nodes]
    assert not any("batch_norm" in name or "conv3d.default" in name for name in names)
    x = torch.randn(1, 1, 6, 10, 8)
    near(fast.runner(x), model(x))


def test_a_u_net_with_transposed_convolutions_is_equal_at_other_sizes():
    model = with_statistics(
        nn.Sequential(
            nn.Conv3d(1, 4, 3, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose3d(4, 6, 3, 2, 1, output_padding=1, groups=2),
            nn.BatchNorm3d(6),
            nn.ReLU(),
            nn.ConvTranspose3d(6, 2, 2, 2),
        )
    )
    fast = optimize(model, torch.randn(1, 1, 8, 8, 8), backends=["onednn"])
    for size in (1, 1, 8, 8, 8), (2, 1, 6, 10, 12):
        x = torch.randn(size)
        near(fast.runner(x), model(x))


def test_a_converted_2d_network_is_equal():
    flat = with_statistics(lean3d.create_model("unet2d", widths=(4, 8), num_classes=3))
    deep = convert(flat, ACS()).eval()
    fast = optimize(deep, torch.randn(1, 1, 8, 16, 16), backends=HERE)
    x = torch.randn(2, 1, 12, 8, 16)
    near(fast(x), deep(x))
    assert {row.backend for row in fast.table} == {"eager", *HERE}
    assert all(row.note == "" and row.error < 1e-5 and row.ms > 0 for row in fast.table)
    assert fast.report().count("\n") >= len(fast.table)


def test_the_residual_that_is_read_later_is_not_overwritten():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.conv = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1)

        def forward(self, x):
            x = self.stem(x)
            view = x[:, :2]
            y = torch.relu(self.conv(x) + x)
            return torch.cat([y, x, view], 1)

    model = Twice().eval()
    fast = optimize(model, torch.randn(1, 1, 6, 6, 6), backends=["onednn"])
    x = torch.randn(1, 1, 6, 6, 6)
    before = x.clone()
    assert fast.backend == "onednn", fast.report()
    near(fast.runner(x), model(x))
    assert torch.equal(x, before)


def test_what_a_convolution_reads_is_not_overwritten_by_its_sum():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.conv = nn.Conv3d(1, 8, 3, padding=1), nn.Conv3d(8, 8, 3, padding=1)

        def forward(self, x):
            x = torch.relu(self.stem(x))
            return torch.relu(x + self.conv(x))

    model, x = Own().eval(), torch.randn(1, 1, 8, 12, 12)
    fast = optimize(model, x, backends=["onednn"])
    assert fast.backend == "onednn", fast.report()
    near(fast.runner(x), model(x))


def test_an_input_that_is_added_to_is_not_overwritten():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(2, 2, 3, padding=1)

        def forward(self, x):
            return torch.relu(self.conv(x) + x)

    model, x = Skip().eval(), torch.randn(1, 2, 4, 4, 4)
    fast = optimize(model, x, backends=["onednn"])
    before = x.clone()
    assert fast.backend == "onednn", fast.report()
    near(fast.runner(x), model(x))
    assert torch.equal(x, before)


def test_an_example_thinner_than_a_pool_is_optimised_for_its_sizes(capfd):
    conv, pool = nn.Conv3d(1, 4, 3, padding=1), lean3d.ops.pools.AvgPool3d(2, 2)
    model, x = nn.Sequential(conv, nn.ReLU(), pool).eval(), torch.randn(1, 1, 1, 8, 8)
    fast = optimize(model, x, backends=["onednn"])
    assert fast.backend == "onednn", fast.report()
    assert capfd.readouterr().err == ""
    for other in (x, torch.randn(3, 1, 1, 8, 8), torch.randn(1, 1, 6, 8, 10)):
        near(fast(other), model(other))


def test_outputs_of_any_structure_and_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(1, 2, 3, padding=1)

        def forward(self, x, y):
            return {"sum": self.conv(x) + y, "maps": [self.conv(y).relu(), x]}

    model = Two().eval()
    given = torch.randn(1, 1, 4, 4, 4), torch.randn(1, 1, 4, 4, 4)
    fast = optimize(model, given, backends=["onednn"])
    found, expected = fast.runner(*given), model(*given)
    near(found["sum"], expected["sum"])
    near(found["maps"][0], expected["maps"][0])


def test_half_precision_is_near_and_gives_the_output_type_of_the_network():
    model, x = residual(ACSConv3d), torch.randn(1, 1, 8, 8, 8)
    fast = optimize(model, x, precision="bfloat16", backends=["onednn"])
    row = next(row for row in fast.table if row.backend == "onednn")
    if row.note:
        pytest.skip(row.note)
    assert 1e-6 < row.error < 5e-2
    assert fast.runner(x).dtype == torch.float32


def test_sizes_the_graph_was_not_made_for_run_by_the_network():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(1, 2, 3, padding=1)

        def forward(self, x):
            return self.conv(x) * (2 if x.shape[2] == 4 else 3)

    model = Fixed().eval()
    fast = optimize(model, torch.randn(1, 1, 4, 4, 4), backends=["onednn"])
    for depth in (4, 5):
        x = torch.randn(1, 1, depth, 4, 4)
        near(fast(x), model(x))


@pytest.mark.slow
def test_an_error_of_the_network_is_its_own():
    model = residual()
    fast = optimize(model, torch.randn(1, 1, 8, 8, 8), backends=["onednn"])
    with pytest.raises(RuntimeError, match="expected input"):
        fast(torch.randn(1, 2, 8, 8, 8))


@pytest.mark.slow
def test_a_copy_and_a_pickle_run_the_network():
    model, x = residual(), torch.randn(1, 1, 8, 8, 8)
    fast = optimize(model, x, backends=["onednn"])
    for again in copy.deepcopy(fast), pickle.loads(pickle.dumps(fast)):
        near(again(x), model(x))
        assert again.backend == "eager"
    near(fast.double()(x.double()), model.double()(x.double()))


def test_the_model_is_not_changed():
    model = residual().train()
    before = copy.deepcopy(model.state_dict())
    optimize(model, torch.randn(1, 1, 8, 8, 8), backends=["onednn"])
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.slow
def test_calls_from_eight_threads_are_right():
    model = residual(ACSConv3d)
    fast = optimize(model, torch.randn(1, 1, 8, 8, 8), backends=["onednn"])
    inputs = [torch.randn(1 + i % 2, 1, 6 + i, 8, 8) for i in range(8)]
    expected = [model(x).detach() for x in inputs]
    wrong = []

    def work(i):
        for _ in range(10):
            apart = float((fast.runner(inputs[i]) - expected[i]).abs().max())
            wrong.extend([apart] if apart > 1e-4 else [])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.fixture
def another():
    """Register backends for a test."""
    names = set(BACKENDS)
    yield register_backend
    for name in set(BACKENDS) - names:
        del BACKENDS.parts[name]


def test_a_backend_whose_output_differs_is_refused(another):
    @another("wrong")
    def wrong(source):
        return lambda x: source.model(x) * 1.01

    @another("absent")
    def absent(source):
        raise Unavailable("it is not installed")

    @another("broken")
    def broken(source):
        raise ZeroDivisionError("of its own")

    fast = optimize(residual(), torch.randn(1, 1, 8, 8, 8), backends=["wrong", "absent", "broken"])
    notes = {row.backend: row.note for row in fast.table}
    assert fast.backend == "eager"
    assert "differs by" in notes["wrong"]
    assert notes["absent"] == "it is not installed"
    assert "ZeroDivisionError" in notes["broken"]


def test_an_output_that_is_not_a_number_is_refused(another):
    class Two(nn.Module):
        def forward(self, x):
            return x + 1, x * 2

    @another("part nan")
    def part_nan(source):
        return lambda x: (x + 1, x * float("nan"))

    fast = optimize(Two(), torch.randn(1, 1, 4, 4, 4), backends=["part nan"])
    assert fast.backend == "eager"
    assert "another size, or not finite" in fast.table[-1].note


def test_a_tolerance_is_held(another):
    @another("nearly")
    def nearly(source):
        return lambda x: source.model(x) * (1 + 1e-6)

    given = torch.randn(1, 1, 8, 8, 8)
    fast = optimize(residual(), given, backends=["nearly"], tolerance=0.0)
    assert fast.backend == "eager"
    assert "0e+00 is allowed" in fast.table[-1].note


def test_a_spent_budget_builds_no_more(another):
    built = []
    for name in ("first", "second"):
        another(name)(lambda source, name=name: built.append(name) or source.model)
    optimize(residual(), torch.randn(1, 1, 8, 8, 8), backends=["first"], budget_s=1e-6)
    assert built == []


def test_the_fastest_is_chosen(another):
    model = residual()

    @another("remembered")
    def remembered(source):
        known = source.model(*source.arguments)
        return lambda *_: known

    fast = optimize(model, torch.randn(1, 1, 24, 24, 24), backends=["remembered", "fused"])
    assert fast.backend == "remembered"
    assert fast.rows()[0]["backend"] == "remembered"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (dict(precision="int4"), "precision is float32"),
        (dict(backends=["tensorrt"]), "no backend called 'tensorrt'"),
        (dict(budget_s=range(3)), "budget_s is seconds above 0"),
        (dict(backends=nn.Module), "backends is a list of names"),
        (dict(backends=[]), "backends names none; leave it out to measure all"),
        (dict(tolerance="x"), "takes a tolerance above 0"),
        (dict(budget_s=0), "budget_s is seconds above 0"),
        (dict(budget_s=float("nan")), "budget_s is seconds above 0"),
        (dict(example=3), "example is a tensor"),
        (dict(example=torch.randn(1, 4, 8, 8, 8)), "does not run on the example"),
    ],
)
def test_wrong_arguments_are_refused(given, says):
    example = given.pop("example", torch.randn(1, 1, 8, 8, 8))
    with pytest.raises(LeanError, match=says):
        optimize(residual(), example, **given)


@pytest.mark.slow
def test_inductor_gives_the_networks_output():
    model, x = residual(ACSConv3d), torch.randn(1, 1, 8, 8, 8)
    fast = optimize(model, x, backends=["inductor"], budget_s=600)
    row = next(row for row in fast.table if row.backend == "inductor")
    assert row.error < 1e-5 or "compiler" in row.note


@pytest.mark.parametrize("name", ["onnxruntime", pytest.param("openvino", marks=pytest.mark.slow)])
def test_other_runtimes_give_the_networks_output(name):
    pytest.importorskip(name)
    model, x = residual(ACSConv3d), torch.randn(1, 1, 8, 8, 8)
    fast = optimize(model, x, backends=[name], budget_s=600)
    row = next(row for row in fast.table if row.backend == name)
    assert row.note == ""
    assert row.error < 1e-4


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", ["no weights", "compiled"])
def test_a_network_without_weights_or_compiled_is_refused(kind):
    x = torch.randn(1, 1, 8, 8, 8)
    model = nn.Conv3d(1, 2, 3, device="meta" if kind == "no weights" else None)
    if kind == "compiled":
        model = torch.jit.trace(model.eval(), x)
    with pytest.raises(LeanError, match="a network with weights, before"):
        optimize(model, x)


def test_kernels_that_a_forward_splits_are_constants_of_the_graph():
    model = nn.Sequential(ACSConv3d(3, 20, 3, padding=1), nn.ReLU()).eval()
    x = torch.randn(1, 3, 4, 5, 6)
    graph = exported(model, (x,)).copy()
    convs = [node for node in graph.graph.nodes if "conv3d" in str(node.target)]
    assert len(convs) == 3
    assert all(node.args[1].op == "get_attr" for node in convs)
    torch.testing.assert_close(graph(x), model(x))


def test_weights_that_are_loaded_are_those_that_run():
    model, x = residual(), torch.randn(1, 1, 8, 8, 8)
    fast = optimize(model, x, backends=["onednn"])
    other = {k: 2 * v if v.is_floating_point() else v for k, v in model.state_dict().items()}
    whole = nn.ModuleDict({"net": fast})
    whole.load_state_dict({f"net.model.{key}": value for key, value in other.items()})
    assert fast.backend == "eager"
    model.load_state_dict(other)
    near(fast(x), model(x))


@pytest.mark.slow
def test_inputs_of_another_type_or_by_name_go_to_the_network_itself():
    model, x = residual(), torch.randn(1, 1, 8, 8, 8)
    fast = optimize(model, x, backends=["onednn"])
    near(fast(input=x), model(x))
    for other in (x.half(), x.bfloat16(), x.double()):
        # as the network itself does, whatever a backend would make of it
        with pytest.raises(RuntimeError, match="should be the same"):
            fast(other)


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3, padding=1)

    def forward(self, *maps):
        y = self.conv(maps[0]) + sum(maps[1:])
        return {"sum": y, "all": [y.relu(), y.mean((2, 3, 4))], "count": len(maps)}


@pytest.mark.parametrize("name", HERE)
def test_any_number_of_inputs_and_outputs_of_any_structure(name):
    model = Several().eval()
    given = torch.randn(1, 1, 6, 7, 8), torch.randn(1, 4, 6, 7, 8), torch.randn(1, 4, 6, 7, 8)
    fast = optimize(model, given, backends=[name])
    assert fast.backend == name, fast.report()
    other = tuple(torch.randn(2, x.shape[1], 5, 6, 7) for x in given)
    for inputs in (given, other):
        found, expected = fast(*inputs), model(*inputs)
        assert (list(found), found["count"]) == (["sum", "all", "count"], 3)
        near(found["sum"], expected["sum"])
        for one, wanted in zip(found["all"], expected["all"], strict=True):
            near(one, wanted)


@pytest.mark.slow
def test_packed_kernels_are_kept_alone():
    fast = optimize(residual(), torch.randn(1, 1, 8, 8, 8), backends=["onednn"])
    graph = fast.runner
    held = [x for x in (*graph.parameters(), *graph.buffers()) if x.ndim == 5 and x.numel()]
    assert held == []
