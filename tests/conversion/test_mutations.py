"""No rule is idle: without any one of them, or with one that forgets depth, a model is refused.

The tables themselves say what is tested: a new rule or function needs an example here, or
these tests fail.
"""

from contextlib import suppress
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import timm, torchvision

from lean3d.conversion import (
    ACS,
    ConversionError,
    Inflate,
    MeanACS,
    Planar,
    SoftACS,
    convert,
)
from lean3d.conversion.to3d import keep_depth as keep
from lean3d.conversion.to3d.base import To3D
from lean3d.conversion.to3d.merged import call as functional
from lean3d.conversion.to3d.merged.call import FUNCTION_RULES
from lean3d.conversion.to3d.rules import registry as rules
from lean3d.torch_functions import Trait, having

HOWS = {To3D: ACS()}
METHODS = [ACS(), MeanACS(), SoftACS(), Planar(), Inflate()]

PERMUTE = "torchvision.ops.misc.Permute"
SPACE_TO_DEPTH = "timm.layers.space_to_depth.SpaceToDepth"
COND_CONV = "timm.layers.cond_conv2d.CondConv2d"


class Routed(nn.Module):
    def __init__(self):
        super().__init__()
        kind = timm.layers.cond_conv2d.CondConv2d
        self.conv = kind(4, 4, 3, 2, padding=1, num_experts=2)

    def forward(self, x):
        return self.conv(x, x.mean((2, 3))[:, :2].sigmoid())


def channels_last():
    there, back = (torchvision.ops.misc.Permute(dims) for dims in ([0, 2, 3, 1], [0, 3, 1, 2]))
    return nn.Sequential(there, nn.LayerNorm(4), back)


# a module for every rule
MODULES: dict[type | str, nn.Module] = {
    nn.Conv2d: nn.Conv2d(4, 4, 3, 2, 1),
    nn.ConvTranspose2d: nn.ConvTranspose2d(4, 4, 4, 2, 1),
    nn.BatchNorm2d: nn.BatchNorm2d(4),
    nn.InstanceNorm2d: nn.InstanceNorm2d(4),
    nn.Dropout2d: nn.Dropout2d(),
    nn.Softmax2d: nn.Softmax2d(),
    nn.LayerNorm: nn.LayerNorm([33, 29]),
    nn.RMSNorm: nn.RMSNorm([33, 29]),
    nn.MaxPool2d: nn.MaxPool2d(3, 1, 1),
    nn.AvgPool2d: nn.AvgPool2d(3, 1, 1),
    nn.LPPool2d: nn.LPPool2d(2, 3),
    nn.AdaptiveAvgPool2d: nn.AdaptiveAvgPool2d(3),
    nn.AdaptiveMaxPool2d: nn.AdaptiveMaxPool2d(3),
    nn.ReflectionPad2d: nn.ReflectionPad2d(1),
    nn.ReplicationPad2d: nn.ReplicationPad2d(1),
    nn.CircularPad2d: nn.CircularPad2d(1),
    nn.ZeroPad2d: nn.ZeroPad2d(1),
    nn.ConstantPad2d: nn.ConstantPad2d(1, 2.0),
    nn.PixelShuffle: nn.PixelShuffle(2),
    nn.PixelUnshuffle: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(16, 4, 1)),
    nn.Upsample: nn.Upsample(scale_factor=2, mode="bilinear"),
    nn.UpsamplingNearest2d: nn.UpsamplingNearest2d(scale_factor=2),
    nn.UpsamplingBilinear2d: nn.UpsamplingBilinear2d(scale_factor=2),
    PERMUTE: channels_last(),
    SPACE_TO_DEPTH: nn.Sequential(timm.layers.space_to_depth.SpaceToDepth(4), nn.Conv2d(64, 4, 1)),
    COND_CONV: Routed(),
}
REFUSED_ANYWAY = {nn.LayerNorm, nn.RMSNorm}  # their rules only say why
# voxels are alone in them, in eval at least, so that forgetting depth changes nothing
POINTWISE = {nn.BatchNorm2d, nn.Dropout2d, nn.Softmax2d, *REFUSED_ANYWAY}
RULES = list(rules._RULES)


def around(module):
    last = nn.Conv2d(1 if isinstance(module, nn.PixelShuffle) else 4, 5, 3, padding=1)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), module, last)


def name(key):
    return f"{key[0].__name__} of {getattr(key[1], '__name__', key[1])}"


@pytest.mark.parametrize("key", RULES, ids=name)
def test_without_a_rule_the_module_is_refused_or_as_it_would_be(monkeypatch, key):
    how, source, x = HOWS[key[0]], key[1], torch.randn(2, 3, 8, 12, 16)
    flat = around(MODULES[source]).eval()
    if source not in REFUSED_ANYWAY:
        expected = convert(flat, how, accept="isotropic")(x)
    monkeypatch.delitem(rules._RULES, key)
    try:
        found = convert(flat, how, accept="isotropic")(x)
    except ConversionError:
        return
    torch.testing.assert_close(found, expected)  # its forward is a function that has a meaning


class SliceBySlice(nn.Module):
    """The 2D module itself, on every slice: it forgets depth."""

    def __init__(self, flat: nn.Module):
        super().__init__()
        vars(self)["flat"] = flat.eval()

    def forward(self, x: Tensor) -> Tensor:
        y = self.flat.to(x)(x.transpose(1, 2).flatten(0, 1))
        return y.unflatten(0, (len(x), -1)).transpose(1, 2)


CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, COND_CONV)
SPATIAL = [key for key in RULES if key[1] not in POINTWISE]


@pytest.mark.parametrize("key", SPATIAL, ids=name)
def test_a_rule_that_forgets_depth_is_refused(monkeypatch, key):
    right = rules._RULES[key]

    def forgetful(module, site):
        if key[1] in CONVOLUTIONS:  # whose kernel the check lays along depth; forget the stride
            return right(module, replace(site, keep=True))
        return SliceBySlice(module)

    monkeypatch.setitem(rules._RULES, key, forgetful)
    with pytest.raises(ConversionError, match=r"self-check|depth cannot be kept"):
        convert(around(MODULES[key[1]]), HOWS[key[0]], accept="isotropic")


@pytest.mark.parametrize("how", METHODS, ids=str)
@pytest.mark.parametrize("kind", CONVOLUTIONS[:2])
def test_a_method_that_forgets_depth_is_refused(monkeypatch, kind, how):
    name = "conv" if kind is nn.Conv2d else "transposed"
    right = getattr(type(how), name)

    def forgetful(self, module, site):
        return right(self, module, replace(site, keep=True))

    monkeypatch.setattr(type(how), name, forgetful)
    with pytest.raises(ConversionError, match=r"self-check|depth cannot be kept"):
        convert(around(MODULES[kind]), how, accept="isotropic")


@pytest.mark.parametrize("kind", CONVOLUTIONS[:2])
def test_a_kernel_that_stays_on_its_plane_is_refused(monkeypatch, kind):
    right = rules._RULES[To3D, kind]
    flat = lambda module, site: right(module, replace(site, how=Planar()))  # noqa: E731
    monkeypatch.setitem(rules._RULES, (To3D, kind), flat)
    with pytest.raises(ConversionError, match=r"self-check \(c\)"):
        convert(around(MODULES[kind]), ACS())


def near(x):
    """Sees neighbours, so that depth is in the batch."""
    return F.max_pool2d(x, 3, 1, 1)


KERNEL = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(0))
PLANE = (2, 3)
# a forward for every function that has a meaning, by its name
FORWARDS = {
    "conv2d": lambda f, x: f(x, KERNEL.to(x), padding=1),
    "conv_transpose2d": lambda f, x: f(x, KERNEL.to(x), stride=2),
    "max_pool2d": lambda f, x: f(x, 3, 1, 1),
    "avg_pool2d": lambda f, x: f(x, 3, 1),
    "lp_pool2d": lambda f, x: f(x.abs() + 1, 2.0, 3, 1),
    "adaptive_avg_pool2d": lambda f, x: f(near(x), 3),
    "adaptive_max_pool2d": lambda f, x: f(near(x), 3),
    "pad": lambda f, x: f(x, (1, 1, 2, 2), mode="replicate"),
    "interpolate": lambda f, x: f(x, scale_factor=2.0, mode="bilinear"),
    "pixel_shuffle": lambda f, x: f(x, 2).expand(-1, 4, -1, -1),
    "pixel_unshuffle": lambda f, x: f(F.pad(x, (0, 1, 0, 1)), 2)[:, :4],
    "group_norm": lambda f, x: f(near(x), 2),
    "instance_norm": lambda f, x: f(near(x)),
    "mean": lambda f, x: x - f(near(x), PLANE, keepdim=True),
    "sum": lambda f, x: x * f(near(x), PLANE, keepdim=True) / x.abs().sum(PLANE, keepdim=True),
    "amax": lambda f, x: x - f(near(x), PLANE, keepdim=True),
    "amin": lambda f, x: x - f(near(x), PLANE, keepdim=True),
    "var": lambda f, x: x - f(near(x), PLANE, correction=0, keepdim=True),
    "std": lambda f, x: x - f(near(x), PLANE, correction=0, keepdim=True),
    "logsumexp": lambda f, x: x * (f(near(x), PLANE, True) - f(x, PLANE, True)),
    "__getitem__": lambda f, x: f(near(x), (..., slice(1, None), slice(1, None))),
}
# nothing to see in eval; the last test shows their training
OF_TRAINING = {"dropout2d", "feature_alpha_dropout"}
# for heads of a fixed image size, which are planar at best
OF_HEADS = {
    "flatten": lambda f, x: f(x, 1),
    "view": lambda f, x: f(x, (len(x), -1)),
    "reshape": lambda f, x: f(x, (len(x), -1)),
}
HEADS = [function for function in FUNCTION_RULES if function.__name__ in OF_HEADS]
OTHERS = [f for f in FUNCTION_RULES if f.__name__ not in {*OF_HEADS, *OF_TRAINING}]


def whose(function):
    return getattr(function, "__qualname__", function.__name__) + f" of {type(function).__name__}"


class Forward(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("function", OTHERS, ids=whose)
def test_without_its_meaning_a_function_is_refused(monkeypatch, function):
    flat = around(Forward(lambda x: FORWARDS[function.__name__](function, x)))
    convert(flat, ACS())
    monkeypatch.delitem(functional.FUNCTION_RULES, function)
    with pytest.raises(ConversionError, match="Forward at '1'"):
        convert(flat, ACS())


@pytest.mark.parametrize("function", HEADS, ids=whose)
def test_a_head_of_a_fixed_size_sees_the_mean_of_the_slices(monkeypatch, function):
    def head(x):
        return OF_HEADS[function.__name__](function, F.adaptive_avg_pool2d(x, 3)).square()

    flat = nn.Sequential(nn.Conv2d(3, 4, 3), Forward(head))
    deep = convert(flat, Planar())
    x = torch.randn(2, 3, 6, 8, 10)
    maps = F.adaptive_avg_pool3d(deep[0](x), (3, 3, 3))
    torch.testing.assert_close(deep(x), maps.mean(2).flatten(1).square())
    # slice by slice it keeps the 2D answer too, so that no check tells them apart
    monkeypatch.delitem(functional.FUNCTION_RULES, function)
    assert not torch.allclose(deep(x), maps.mean(2).flatten(1).square())


# a forward for every function that may resample, by its name
RESAMPLING = {
    "conv2d": lambda x: F.conv2d(x, KERNEL.to(x), stride=2, padding=1),
    "max_pool2d": lambda x: F.max_pool2d(x, 3, 2, 1),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 2),
    "lp_pool2d": lambda x: F.lp_pool2d(x.abs() + 1, 2.0, 2),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x[:, :, ::2, ::2], KERNEL.to(x), stride=2),
    "interpolate": lambda x: F.interpolate(x, scale_factor=0.5),
    "__getitem__": lambda x: x[:, :, ::2, ::2],
    "pixel_shuffle": lambda x: F.pixel_shuffle(F.max_pool2d(x, 2), 2).expand(-1, 4, -1, -1),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2)[:, :4],
    "pad": lambda x: F.max_pool2d(F.pad(x, (1, 0, 1, 0)), 2),
}


@pytest.mark.parametrize("name", sorted({f.__name__ for f in keep.RESAMPLING}))
def test_a_function_that_resamples_keeps_depth_because_it_is_known(monkeypatch, name):
    flat, how = around(Forward(RESAMPLING[name])), ACS(keep_depth=None)
    x = torch.randn(1, 3, 4, 8, 12)
    assert convert(flat, how)(x).shape[2] == 4
    for table in ("RESAMPLING", "WINDOWED"):
        kept = {f for f in getattr(keep, table) if f.__name__ != name}
        monkeypatch.setattr(keep, table, kept)
    with suppress(ConversionError):
        assert convert(flat, how)(x).shape[2] != 4


OTHER = torch.rand(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(1)).double()
MORE: list[tuple] = [(OTHER,), (0.5, False), (), (0.3, 0.7), (OTHER > 0.5, OTHER)]
MORE += [(torch.float32,), (OTHER, OTHER), (OTHER, 0.3), (OTHER > 0.5, 0.3)]


def answer(function, x, index):
    """Of the first way to call the function that is one."""
    if function is torch.where:
        return torch.where(OTHER[index] > 0.5, x[index], 0.3)
    for more in MORE:
        rest = [one[index] if isinstance(one, Tensor) else one for one in more]
        with suppress(TypeError, RuntimeError, AttributeError, ValueError):
            result = function(x[index].clone(), *rest)
            if isinstance(result, Tensor):
                return result
    # of masks alone
    for mask in [(OTHER[index] > 0.5,), ()]:
        with suppress(TypeError, RuntimeError):
            return function(x[index] > 0.7, *mask)
    raise AssertionError(f"{function} is no function of tensors, or needs other arguments")


POINTWISE_FUNCTIONS = sorted(having(Trait.POINTWISE), key=whose)


@pytest.mark.parametrize("function", POINTWISE_FUNCTIONS, ids=whose)
def test_what_is_called_pointwise_sees_every_voxel_alone(function):
    x_BCDHW = OTHER.flip(2) + 0.1
    slices = [
        answer(function, x_BCDHW, (slice(None), slice(None), depth))
        for depth in range(x_BCDHW.shape[2])
    ]
    torch.testing.assert_close(answer(function, x_BCDHW, ()), torch.stack(slices, 2))


@pytest.mark.parametrize("function", [F.dropout2d, F.feature_alpha_dropout])
def test_dropped_channels_are_dropped_in_the_whole_volume(function):
    flat = nn.Sequential(Forward(lambda x: function(near(x), 0.5, True)), nn.Conv2d(4, 4, 1))
    deep = convert(flat, ACS(), accept="unchecked")
    y = deep[0](torch.rand(3, 4, 5, 6, 7) + 1)
    dropped = y == y[:, :, :1, :1, :1]
    assert torch.equal(dropped.all(dim=(2, 3, 4)), dropped.float().mean((2, 3, 4)) > 0.5)
    assert 0 < dropped.all(dim=(2, 3, 4)).sum() < 12
