"""No rule is idle: without any one of them, or with one that forgets depth, a model is refused.

A new rule needs an example here, or these tests fail.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.convert import (
    ACS,
    ConversionError,
    Inflate,
    MeanACS,
    Planar,
    SoftACS,
    convert,
    functional,
    rules,
)
from lean3d.convert.acs import Views
from lean3d.convert.functional import MEANINGS
from lean3d.convert.lift import Lift

HOWS = {Lift: ACS(), Views: MeanACS(), Planar: Planar(), Inflate: Inflate()}
HOWS |= {ACS: ACS(), MeanACS: MeanACS(), SoftACS: SoftACS()}

# a module for every rule
MODULES = {
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
}
REFUSED_ANYWAY = {nn.LayerNorm, nn.RMSNorm}  # their rules only say why
# voxels are alone in them, in eval at least, so that forgetting depth changes nothing
POINTWISE = {nn.BatchNorm2d, nn.Dropout2d, nn.Softmax2d, *REFUSED_ANYWAY}
OF_CLASSES = [key for key in rules._RULES if not isinstance(key[1], str)]


def around(module):
    last = nn.Conv2d(1 if isinstance(module, nn.PixelShuffle) else 4, 5, 3, padding=1)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), module, last)


def name(key):
    return f"{key[0].__name__} of {key[1].__name__}"


@pytest.mark.parametrize("key", OF_CLASSES, ids=name)
def test_without_a_rule_the_module_is_refused_or_as_it_would_be(monkeypatch, key):
    how, source, x = HOWS[key[0]], key[1], torch.randn(2, 3, 6, 8, 10)
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


CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
SPATIAL = [key for key in OF_CLASSES if key[1] not in POINTWISE]


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


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_kernel_that_stays_on_its_plane_is_refused(monkeypatch, kind):
    right = rules._RULES[Planar, kind]
    monkeypatch.setitem(
        rules._RULES,
        (Planar, kind),
        lambda module, site: right(module, replace(site, how=Planar())),
    )
    with pytest.raises(ConversionError, match=r"self-check \(c\)"):
        convert(around(MODULES[kind]), ACS())


def near(x):
    """Sees neighbours, so that depth is in the batch."""
    return F.max_pool2d(x, 3, 1, 1)


KERNEL = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(0))
# a forward for every function that has a meaning, by its name
FORWARDS = {
    "conv2d": lambda x: F.conv2d(x, KERNEL.to(x), padding=1),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x, KERNEL.to(x), stride=2),
    "max_pool2d": lambda x: F.max_pool2d(x, 3, 1, 1),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 3, 1),
    "lp_pool2d": lambda x: F.lp_pool2d(x.abs() + 1, 2.0, 3, 1),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(near(x), 3),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(near(x), 3),
    "pad": lambda x: F.pad(x, (1, 1, 2, 2), mode="replicate"),
    "interpolate": lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2).expand(-1, 4, -1, -1),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(F.pad(x, (0, 1, 0, 1)), 2)[:, :4],
    "group_norm": lambda x: F.group_norm(near(x), 2),
    "instance_norm": lambda x: F.instance_norm(near(x)),
    "mean": lambda x: x - near(x).mean((2, 3), keepdim=True),
    "sum": lambda x: x * near(x).sum((2, 3), keepdim=True) / x.abs().sum((2, 3), keepdim=True),
    "amax": lambda x: x - near(x).amax((2, 3), keepdim=True),
    "amin": lambda x: x - near(x).amin((2, 3), keepdim=True),
    "var": lambda x: x - near(x).var((2, 3), correction=0, keepdim=True),
    "std": lambda x: x - near(x).std((2, 3), correction=0, keepdim=True),
    "logsumexp": lambda x: x * (near(x).logsumexp((2, 3), True) - x.logsumexp((2, 3), True)),
    "__getitem__": lambda x: near(x)[:, :, 1:, 1:],
}
# nothing to see in eval; the last test shows their training
OF_TRAINING = {"dropout2d", "feature_alpha_dropout"}
# for heads of a fixed image size, which are planar at best
OF_HEADS = {"flatten", "view", "reshape"}
NAMES = sorted({function.__name__ for function in MEANINGS} - OF_TRAINING - OF_HEADS)


class Forward(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("name", NAMES)
def test_without_its_meaning_a_function_is_refused(monkeypatch, name):
    flat = around(Forward(FORWARDS[name]))
    convert(flat, ACS())
    mutant = {f: rule for f, rule in MEANINGS.items() if f.__name__ != name}
    monkeypatch.setattr(functional, "MEANINGS", mutant)
    with pytest.raises(ConversionError, match="Forward at '1'"):
        convert(flat, ACS())


@pytest.mark.parametrize("name", sorted(OF_HEADS))
def test_a_head_of_a_fixed_size_sees_the_mean_of_the_slices(name):
    def head(x):
        y = F.adaptive_avg_pool2d(x, 3)
        rows = y.flatten(1) if name == "flatten" else getattr(y, name)(y.shape[0], -1)
        return rows.square()

    deep = convert(nn.Sequential(nn.Conv2d(3, 4, 3), Forward(head)), Planar())
    x = torch.randn(2, 3, 6, 8, 10)
    maps = F.adaptive_avg_pool3d(deep[0](x), (3, 3, 3))
    torch.testing.assert_close(deep(x), maps.mean(2).flatten(1).square())


@pytest.mark.parametrize("function", [F.dropout2d, F.feature_alpha_dropout])
def test_dropped_channels_are_dropped_in_the_whole_volume(function):
    flat = nn.Sequential(Forward(lambda x: function(near(x), 0.5, True)), nn.Conv2d(4, 4, 1))
    deep = convert(flat, ACS(), accept="unchecked")
    y = deep[0](torch.rand(3, 4, 5, 6, 7) + 1)
    dropped = y == y[:, :, :1, :1, :1]
    assert torch.equal(dropped.all(dim=(2, 3, 4)), dropped.float().mean((2, 3, 4)) > 0.5)
    assert 0 < dropped.all(dim=(2, 3, 4)).sum() < 12
