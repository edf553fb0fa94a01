"""Every operator is nn.Conv3d from outside and its slow reference from inside."""

import copy
import inspect
import math
import pickle
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from op_variants import TRANSPOSED, VARIANTS, build, volume
from torch import nn

import lean3d.ops
from lean3d.errors import LeanError, ShapeError
from lean3d.ops.memory_layout import channels_last, channels_last_
from lean3d.ops.reference import reference

# torch's own remark on padding="same" with even kernels, nn.Conv3d's too
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

NONLINEAR = {"p1sc1", "p2sc2", "p2sc2_norm", "2plus1d", "causal", "causal_zeros"}
ONE_KERNEL = ("acs", "mean_acs", "soft_acs")

ARGUMENTS = {
    "default": dict(kernel_size=3),
    "padded": dict(kernel_size=3, padding=1),
    "point": dict(kernel_size=1),
    "stride": dict(kernel_size=3, padding=1, stride=2),
    "strides": dict(kernel_size=3, padding=(1, 0, 2), stride=(1, 2, 3)),
    "dilation": dict(kernel_size=3, padding=2, dilation=(1, 2, 2)),
    "groups": dict(kernel_size=3, padding=1, groups=2),
    "no_bias": dict(kernel_size=3, bias=False),
    "flat": dict(kernel_size=(1, 1, 3), padding=(0, 0, 1)),
    "oblong": dict(kernel_size=(3, 3, 5), padding=(1, 1, 2)),
    "uneven": dict(kernel_size=(3, 1, 5), padding=(1, 0, 2), stride=(1, 1, 2)),
    "even": dict(kernel_size=2, padding=1),
    "same": dict(kernel_size=3, padding="same", dilation=(2, 1, 2)),
    "same_even": dict(kernel_size=(2, 2, 4), padding="same"),
    "valid": dict(kernel_size=3, padding="valid"),
    "reflect": dict(kernel_size=3, padding=1, padding_mode="reflect"),
    "replicate": dict(kernel_size=3, padding=(2, 1, 1), padding_mode="replicate"),
    "circular": dict(kernel_size=3, padding="same", padding_mode="circular"),
}


def fits(variant, name):
    if variant.startswith(ONE_KERNEL) and name == "uneven":
        return False
    return not (variant == "ir" and name == "groups")


CASES = [(v, a) for v in VARIANTS for a in ARGUMENTS if fits(v, a)]
some_cases = pytest.mark.parametrize(("variant", "name"), CASES)
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def signature(module):
    return [(p.name, p.default) for p in inspect.signature(module).parameters.values()]


OPERATORS = [name for name in lean3d.ops.__all__ if name.endswith("Conv3d")]


def test_every_operator_is_under_contract():
    under = {getattr(v, "func", v).__name__ for v in VARIANTS.values()}
    assert under == {*OPERATORS, "DenseConv3d"}


@pytest.mark.parametrize("name", OPERATORS)
def test_takes_the_arguments_of_conv3d_and_more_by_keyword_only(name):
    operator = getattr(lean3d.ops, name)
    assert signature(operator)[:11] == signature(nn.Conv3d)
    extras = list(inspect.signature(operator).parameters.values())[11:]
    assert all(extra.kind is extra.KEYWORD_ONLY for extra in extras)


@some_cases
def test_output_has_the_shape_of_conv3d(variant, name):
    x = volume(2, 4, 7, 9, 11)
    op = build(variant, **ARGUMENTS[name])
    assert op(x).shape == nn.Conv3d(4, 8, **ARGUMENTS[name])(x).shape


@some_cases
def test_output_and_gradients_are_those_of_the_reference(variant, name):
    op = build(variant, **ARGUMENTS[name], dtype=torch.float64)
    x = volume(2, 4, 5, 6, 7, dtype=torch.float64).requires_grad_()
    got, expected = op(x), reference(op, x)
    torch.testing.assert_close(got, expected)
    weigh = torch.randn_like(expected)
    inputs = [x, *op.parameters()]
    pairs = [torch.autograd.grad((y * weigh).sum(), inputs) for y in (got, expected)]
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("channels", [(6, 6, 6), (6, 12, 6), (6, 18, 6), (6, 10, 2), (9, 12, 3)])
@pytest.mark.parametrize("variant", ["acs_views", "acs_dense", "soft_acs", "planar_1", "atoms"])
def test_grouped_and_depthwise_of_any_multiplier_equal_the_reference(variant, channels):
    ins, outs, groups = channels
    op = build(variant, (ins, outs), kernel_size=3, padding=1, groups=groups, dtype=torch.float64)
    x = volume(1, ins, 4, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(op(x), reference(op, x))


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v not in NONLINEAR])
@pytest.mark.parametrize("name", ["padded", "groups", "reflect"])
def test_a_linear_operator_equals_conv3d_with_its_dense_weight(variant, name):
    if not fits(variant, name):
        pytest.skip("ir has no groups")
    op = build(variant, **ARGUMENTS[name], dtype=torch.float64)
    dense = nn.Conv3d(4, 8, **ARGUMENTS[name], dtype=torch.float64)
    weight = op.dense_weight()
    assert weight.shape == dense.weight.shape
    x = volume(2, 4, 5, 6, 7, dtype=torch.float64)
    with torch.no_grad():
        dense.weight.copy_(weight)
        zero = torch.zeros(1, 4, 9, 9, 9, dtype=torch.float64)
        dense.bias.copy_(op(zero)[0, :, 4, 4, 4])
    torch.testing.assert_close(op(x), dense(x))


MATTERS = {
    "in_channels": ({}, (2, 8)),
    "out_channels": ({}, (4, 16)),
    "kernel_size": (dict(kernel_size=5), None),
    "stride": (dict(stride=2), None),
    "padding": (dict(padding=0), None),
    "dilation": (dict(dilation=2), None),
    "groups": (dict(groups=2), None),
    "bias": (dict(bias=False), None),
    "padding_mode": (dict(padding_mode="replicate"), None),
    "dtype": (dict(dtype=torch.float64), None),
    "device": (dict(device="meta"), None),
}


@every_variant
@pytest.mark.parametrize("argument", MATTERS)
def test_no_argument_is_ignored(variant, argument):
    change, channels = MATTERS[argument]
    base = dict(kernel_size=3, padding=1)
    if (variant, argument) == ("ir", "groups"):
        pytest.skip("refused, see test_channel")
    one, other = build(variant, **base), build(variant, channels or (4, 8), **(base | change))

    def look(op):
        weights = [(p.shape, p.dtype, p.device.type) for p in op.parameters()]
        device = next(op.parameters()).device
        x = volume(1, op.in_channels, 7, 7, 7).to(device, next(op.parameters()).dtype)
        return weights, op(x).shape, None if device.type == "meta" else op(x).double()

    (weights, shape, y), (other_weights, other_shape, z) = look(one), look(other)
    alike = weights == other_weights and shape == other_shape
    assert not (alike and torch.allclose(y, z))


@every_variant
def test_runs_under_autocast_and_keeps_its_answer(variant):
    op, x = build(variant, kernel_size=3, padding=1), volume(2, 4, 6, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        y = op(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), op(x), atol=0.15, rtol=0.1)


@every_variant
def test_runs_in_bfloat16(variant):
    op = build(variant, kernel_size=3, padding=1)
    x = volume(2, 4, 6, 6, 6)
    expected = op(x)
    y = copy.deepcopy(op).to(torch.bfloat16)(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, atol=0.2, rtol=0.1)


@every_variant
@pytest.mark.parametrize("batch", [1, 2])
def test_runs_in_channels_last_3d_and_keeps_its_answer(variant, batch):
    op, x = build(variant, kernel_size=3, padding=1), volume(batch, 4, 6, 7, 8)
    expected = op(x)
    last = nn.Sequential(copy.deepcopy(op)).to(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(last(x.to(memory_format=torch.channels_last_3d)), expected)


@pytest.mark.parametrize(
    # of each operator the plain one, those with options when there is time
    "variant",
    [pytest.param(v, marks=[pytest.mark.slow] * ("_" in v)) for v in VARIANTS],
)
def test_compiles_as_one_graph(variant):
    torch._dynamo.reset()
    op, x = build(variant, kernel_size=3, padding=1, groups=1), volume(2, 4, 5, 6, 7)
    compiled = torch.compile(op, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), op(x))
    compiled(x).square().mean().backward()
    assert all(parameter.grad is not None for parameter in op.parameters())


# inductor's own import
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.slow
@every_variant
def test_compiles_with_inductor(variant):
    torch._dynamo.reset()
    op, x = build(variant, kernel_size=3, padding=1), volume(2, 4, 5, 6, 7)
    torch.testing.assert_close(torch.compile(op, fullgraph=True)(x), op(x), atol=1e-5, rtol=1e-4)


@every_variant
def test_exports(variant):
    op, x = build(variant, kernel_size=3, padding=1).eval(), volume(2, 4, 5, 6, 7)
    program = torch.export.export(op, (x,))
    torch.testing.assert_close(program.module()(x), op(x))


@every_variant
def test_an_empty_batch_gives_an_empty_answer(variant):
    y = build(variant, kernel_size=3, padding=1).eval()(volume(0, 4, 5, 6, 7))
    assert y.shape == (0, 8, 5, 6, 7)


@every_variant
def test_survives_deepcopy_pickle_and_a_state_dict(variant):
    op, x = build(variant, kernel_size=3, padding=1, groups=1).eval(), volume(2, 4, 5, 6, 7)
    fresh = VARIANTS[variant](4, 8, kernel_size=3, padding=1).eval()
    fresh.load_state_dict(op.state_dict())
    for twin in (copy.deepcopy(op), pickle.loads(pickle.dumps(op)), fresh):
        torch.testing.assert_close(twin(x), op(x))


@every_variant
def test_is_built_on_the_meta_device_and_gives_shapes_there(variant):
    op = VARIANTS[variant](4, 8, 3, padding=1, device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in op.parameters()} == {("meta", torch.float64)}
    assert op(torch.empty(2, 4, 5, 6, 7, device="meta", dtype=torch.float64)).shape[1] == 8


def initial_outputs(operator, reset):
    """Their root mean square on white noise, over a few draws of the weights."""
    # no zeros at the border, which operators of several layers have more of
    size = dict(kernel_size=3, padding=1, padding_mode="circular")
    torch.manual_seed(0)
    found = []
    for _ in range(4):
        op = operator(32, 64, **size)
        if reset:
            torch.nn.init.zeros_(next(op.parameters()))
            op.reset_parameters()
        # the first frames of a causal one may see zeros
        found.append(op(torch.randn(1, 32, 5, 5, 5))[:, :, 2:].square().mean())
    return torch.stack(found).mean().sqrt().item()


@every_variant
@pytest.mark.parametrize("reset", [False, True], ids=["built", "reset"])
def test_starts_with_outputs_as_large_as_those_of_conv3d(variant, reset):
    operator = VARIANTS[variant]
    if getattr(operator, "func", operator) is lean3d.ops.ParallelSeparableConv3d:
        operator = partial(operator, start="outputs")
    with torch.no_grad():
        ours = initial_outputs(operator, reset)
        assert ours == pytest.approx(initial_outputs(nn.Conv3d, reset), rel=0.1)


@every_variant
def test_refuses_a_batch_of_images_and_says_how_to_mend_it(variant):
    with pytest.raises(ShapeError, match=r"B, C=4, D, H, W.*unsqueeze\(2\)"):
        build(variant, kernel_size=3)(volume(2, 4, 9, 9))


@every_variant
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (dict(groups=3), "multiple of groups"),
        (dict(padding_mode="mirror"), "padding_mode is one of"),
        (dict(padding="full"), "'same' or 'valid'"),
        (dict(padding="same", stride=2), "needs stride 1"),
        (dict(padding=-1), "negative"),
        (dict(stride=0), "at least 1"),
        (dict(stride=10**30), "stride is a number 1 or more and at most"),
        (dict(padding=2**63), "padding is a number 0 or more and at most"),
        (dict(dilation=(1, 1, 10**30)), "dilation is a number 1 or more and at most"),
        (dict(kernel_size=(3, 3)), "depth, height, width"),
    ],
    ids=str,
)
def test_refuses_at_construction_what_it_cannot_do(variant, bad, says):
    with pytest.raises(ValueError, match=says):
        VARIANTS[variant](4, 8, **(dict(kernel_size=3) | bad))


@every_variant
def test_without_values_there_are_only_shapes(variant):
    x, op = torch.zeros(1, 3, 4, 8, 8), build(variant, (3, 6), kernel_size=3).to("meta")
    with pytest.raises(LeanError, match="no values, its weights are on the meta device"):
        op(x)
    assert op(x.to("meta")).shape == nn.Conv3d(3, 6, 3)(x).shape


def expected_parameters(variant, ins, outs, k, groups):
    dense, flat = outs * ins // groups * k**3, outs * ins // groups * k**2
    matched = dense * groups // (ins * k * k + outs * k) // groups * groups
    return {
        "acs": flat,
        "mean_acs": flat,
        "soft_acs": flat + 3 * outs,
        "planar_0": flat,
        "p1sc1": (matched * ins * k * k + matched * outs * k) // groups,
        "ip": outs * ins // groups + outs * k**3,
        "rank1": flat + outs * outs // groups * k,
        "2plus1d": (matched * ins * k * k + matched * outs * k) // groups + 2 * matched,
        "atoms": 3 * k * k + 2 * k + outs * ins // groups * 6,
        "causal": dense,
    }[variant]


COUNTED = ["acs", "mean_acs", "soft_acs", "planar_0", "p1sc1", "ip", "rank1", "2plus1d"]
COUNTED += ["atoms", "causal"]


@pytest.mark.parametrize("variant", COUNTED)
@pytest.mark.parametrize("groups", [1, 4])
def test_costs_the_parameters_its_docstring_says(variant, groups):
    op = VARIANTS[variant](16, 24, 3, groups=groups)
    count = sum(math.prod(p.shape) for p in op.parameters())
    assert count == expected_parameters(variant, 16, 24, 3, groups) + 24


def test_the_reference_itself_is_conv3d_on_a_dense_kernel():
    from lean3d.ops.reference import convolve

    conv = nn.Conv3d(4, 6, 3, stride=(1, 2, 1), padding=(1, 0, 2), dilation=(1, 1, 2), groups=2)
    x = volume(2, 4, 5, 6, 7)
    size = dict(nominal=(3, 3, 3), stride=conv.stride, dilation=conv.dilation, groups=2)
    y = convolve(x, conv.weight, conv.bias, **size, pads=((1, 1), (0, 0), (2, 2)), mode="zeros")
    torch.testing.assert_close(y, F.conv3d(x, conv.weight, conv.bias, *size_of(conv)))


def size_of(conv):
    return conv.stride, conv.padding, conv.dilation, conv.groups


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("variant", [*VARIANTS, *TRANSPOSED])
def test_channels_last_kernels_give_the_same_outputs_and_gradients(variant, groups):
    if variant == "ir" and groups > 1:
        pytest.skip("ir has no groups")
    op = build(variant, (16, 16), kernel_size=3, padding=1, groups=groups).eval()
    x = volume(2, 16, 5, 12, 12)
    wanted = gradients(copy.deepcopy(op).double(), x.double())
    found = gradients(channels_last_(op), channels_last(x))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-3, atol=1e-4)


def gradients(op, x):
    """The output, and the gradients of input and parameters."""
    y = op(x.requires_grad_())
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(y)
    own = [p for p in op.parameters() if p.requires_grad]
    return [y.detach(), *torch.autograd.grad(y, [x, *own], slope)]
