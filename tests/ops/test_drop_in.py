"""Whatever asks a module whether it is an nn.Conv3d, and then handles it as one."""

import inspect

import pytest
import torch
from op_variants import TRANSPOSED, VARIANTS, build, volume
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, skip_init

from lean3d.errors import ShapeError
from lean3d.ops import AtomConv3d
from lean3d.ops.base import Conv3dLike
from lean3d.ops.kernel import KernelConv3d

every_operator = pytest.mark.parametrize("variant", [*VARIANTS, *TRANSPOSED])
transposed = pytest.mark.parametrize("variant", TRANSPOSED)
ONE_KERNEL = [name for name in VARIANTS if isinstance(VARIANTS[name](4, 8, 3), KernelConv3d)]
with_weight = pytest.mark.parametrize("variant", [*ONE_KERNEL, *TRANSPOSED])


def kind(op):
    return nn.Conv3d if isinstance(op, Conv3dLike) else nn.ConvTranspose3d


def test_operators_of_one_kernel_are_convolutions_and_those_of_parts_hold_them():
    parts = {"p1sc1", "p2sc2", "p2sc2_norm", "p3sc1_linear", "p2sc1_sum"}
    parts |= {"ip", "ip_pairs", "ir", "2plus1d"}
    assert set(VARIANTS) - set(ONE_KERNEL) == {*parts, "rank1"}
    for variant in parts:
        op = build(variant, kernel_size=3)
        assert not isinstance(op, nn.Conv3d)
        assert any(isinstance(part, nn.Conv3d) for part in op.modules())


@with_weight
def test_is_initialised_by_class_to_the_scale_of_a_dense_kernel(variant):
    def initialise(module):
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="linear")
            nn.init.zeros_(module.bias)

    torch.manual_seed(0)
    op = build(variant, (64, 64), kernel_size=3, padding=1).apply(initialise)
    scale = op(torch.randn(2, 64, 5, 6, 7)).std()
    # the mean of three views has a third of their variance, and more where they meet
    assert 0.4 < scale < 1.5


@every_operator
def test_has_the_attributes_of_torchs_module(variant):
    op = build(variant, kernel_size=3, padding=1)
    torchs = kind(op)(4, 8, 3, padding=1)
    public = [name for name in vars(torchs) if not name.startswith("_")]
    for name in [*public, "weight", "bias"] if isinstance(op, kind(op)) else [*public, "bias"]:
        assert hasattr(op, name), name
    for name in ("transposed", "output_padding", "stride", "padding", "dilation", "groups"):
        assert getattr(op, name) == getattr(torchs, name), name


@every_operator
@pytest.mark.parametrize("groups", [1, 2])
def test_bias_is_what_a_volume_of_zeros_gives(variant, groups):
    if (variant, groups) == ("ir", 2):
        pytest.skip("ir has no groups")
    if variant in ("2plus1d", "p2sc2_norm"):
        pytest.skip("what stands before the last convolution adds to it")
    op = build(variant, kernel_size=3, padding=1, groups=groups)
    y = op(torch.zeros(1, 4, 4, 5, 6))
    torch.testing.assert_close(y, op.bias.view(1, -1, 1, 1, 1).expand_as(y))
    bare = build(variant, kernel_size=3, padding=1, groups=groups, bias=False)
    assert bare.bias is None
    assert "bias=False" in bare.extra_repr()


@every_operator
def test_takes_a_volume_without_a_batch_axis(variant):
    op, x = build(variant, kernel_size=3).eval(), volume(4, 5, 6, 7)
    torch.testing.assert_close(op(x), op(x[None])[0])


@every_operator
@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((2, 4, 9, 9), r"add depth with x.unsqueeze\(2\)$"),
        ((3, 5, 9, 9), r"add depth with x.unsqueeze\(2\), or a batch with x.unsqueeze\(0\)$"),
        ((1, 5, 9, 9, 9), "axis C is 5, not 4$"),
        ((4, 9, 9), "it has 3 axes, not 5$"),
    ],
)
def test_other_axes_are_refused_with_what_to_add(variant, shape, remedy):
    with pytest.raises(ShapeError, match=remedy):
        build(variant, kernel_size=3)(volume(*shape))


@with_weight
def test_a_norm_of_the_weight_learns_and_leaves_the_answer(variant):
    op, x = build(variant, kernel_size=3, padding=1).eval(), volume(2, 4, 5, 6, 7)
    expected = op(x)
    parametrizations.weight_norm(op)
    torch.testing.assert_close(op(x), expected)
    op(x).square().mean().backward()
    assert op.parametrizations.weight.original0.grad.abs().max() > 0
    parametrize.remove_parametrizations(op, "weight")
    torch.testing.assert_close(op(x), expected)


@with_weight
def test_a_spectral_norm_bounds_the_weight(variant):
    op = parametrizations.spectral_norm(build(variant, kernel_size=3), n_power_iterations=50)
    rows = op.weight.flatten(1) if kind(op) is nn.Conv3d else op.weight.transpose(0, 1).flatten(1)
    assert torch.linalg.matrix_norm(rows, 2) < 1.01


@with_weight
def test_pruned_outputs_are_their_bias(variant):
    op, x = build(variant, kernel_size=3), volume(1, 4, 5, 6, 7)
    axis = 0 if kind(op) is nn.Conv3d else 1
    prune.ln_structured(op, "weight", amount=3, n=2, dim=axis)
    gone = op.weight.abs().amax([i for i in range(op.weight.ndim) if i != axis]) == 0
    assert gone.sum() == 3
    y = op(x)[:, gone]
    torch.testing.assert_close(y, op.bias[gone].view(1, -1, 1, 1, 1).expand_as(y))


@every_operator
def test_can_be_built_without_initialisation(variant):
    make = (VARIANTS | TRANSPOSED)[variant]
    op = skip_init(make, 4, 8, 3) if inspect.isclass(make) else None
    if op is None:
        op = skip_init(make.func, 4, 8, 3, **make.keywords)
    op.load_state_dict(build(variant, kernel_size=3).state_dict())
    x = volume(1, 4, 5, 6, 7)
    torch.testing.assert_close(op.eval()(x), build(variant, kernel_size=3).eval()(x))


@transposed
def test_a_transposed_operator_has_the_signature_of_conv_transpose3d(variant):
    make = TRANSPOSED[variant]
    ours = list(inspect.signature(getattr(make, "func", make)).parameters.values())
    theirs = list(inspect.signature(nn.ConvTranspose3d).parameters.values())
    assert [(p.name, p.default) for p in ours[:12]] == [(p.name, p.default) for p in theirs]
    assert all(extra.kind is extra.KEYWORD_ONLY for extra in ours[12:])


@transposed
@pytest.mark.parametrize("size", [(11, 13, 15), (12, 13, 16), (2, 4, 12, 14, 15)])
def test_an_output_size_is_reached_by_padding_the_output(variant, size):
    op, x = build(variant, kernel_size=3, stride=2), volume(2, 4, 5, 6, 7)
    padding = tuple(n - least for n, least in zip(size[-3:], (11, 13, 15), strict=True))
    padded = build(variant, kernel_size=3, stride=2, output_padding=padding)
    torch.testing.assert_close(op(x, output_size=size), padded(x))
    torch.testing.assert_close(op(x[0], output_size=size[-3:]), padded(x[0]))
    assert op.output_padding == (0, 0, 0)


@transposed
def test_an_output_size_out_of_reach_is_refused_as_torch_does(variant):
    with pytest.raises(ValueError, match="requested an output size"):
        build(variant, kernel_size=3, stride=2)(volume(1, 4, 5, 6, 7), output_size=(20, 13, 15))


def test_atoms_load_coefficients_by_their_first_name():
    op = build("atoms", kernel_size=3)
    old = op.state_dict()
    old["coefficients"] = old.pop("weight")
    fresh = AtomConv3d(4, 8, 3, spatial=3)
    fresh.load_state_dict(old)
    assert torch.equal(fresh.coefficients, op.weight)


def test_a_subclass_that_standardises_its_weight_uses_the_forward_of_conv3d():
    class Standardised(VARIANTS["acs"]):
        def forward(self, input):
            mean = self.weight.mean((1, 2, 3), keepdim=True)
            return self._conv_forward(input, self.weight - mean, self.bias)

    op, plain = Standardised(4, 8, 3), build("acs", kernel_size=3)
    with torch.no_grad():
        plain.weight.copy_(op.weight - op.weight.mean((1, 2, 3), keepdim=True))
        plain.bias.copy_(op.bias)
    x = volume(1, 4, 5, 6, 7)
    torch.testing.assert_close(op(x), plain(x))
