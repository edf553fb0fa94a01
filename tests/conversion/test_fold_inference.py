"""fold(): another model, the same answers, fewer steps."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from warm_norms import warm_norms

import lean3d
from lean3d import ACS, Atoms, ConversionError, Dissect, SoftACS, convert, fold
from lean3d.ops import ACSConv3d, AtomConv3d, CausalConv3d, MeanACSConv3d, PlanarConv3d
from lean3d.ops.dense import DenseConv3d

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def lively(model):
    """Batch norms that are not the identity."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, NORMS):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return model.eval()


def small(name, **options):
    return lively(lean3d.create_model(name, **options))


MODELS = {
    "resnet3d_18": lambda: small("resnet3d_18", widths=(4, 6, 6, 6)),
    "unet2d": lambda: small("unet2d", widths=(4, 6)),
    "unet3d_acs": lambda: lively(convert(small("unet2d", widths=(4, 20)), ACS())),
    "unet3d_soft": lambda: lively(convert(small("unet2d", widths=(4, 6)), SoftACS())),
    "atoms": lambda: lively(convert(small("unet3d", widths=(4, 6)), Atoms())),
    "space_time": lambda: small("unet3d", widths=(4, 6), conv=lean3d.ops.SpaceTimeConv3d),
    "d_resnet_18": lambda: small("d_resnet_18", widths=(4, 6, 6, 6), num_classes=3),
}


def example(model):
    kind = nn.Conv2d if any(isinstance(m, nn.Conv2d) for m in model.modules()) else None
    channels = next(m.in_channels for m in model.modules() if hasattr(m, "in_channels"))
    size = (32, 32) if kind else (8, 32, 32)
    return torch.randn(1, channels, *size)


@pytest.mark.parametrize("name", MODELS)
def test_the_answers_stay_and_the_norms_go(name):
    model = MODELS[name]()
    x = example(model)
    before = copy.deepcopy(model.state_dict())
    quick = fold(model, example=x)
    torch.testing.assert_close(quick(x), model(x), atol=1e-3, rtol=1e-3)
    assert not [m for m in quick.modules() if isinstance(m, NORMS)]
    assert not any(p.requires_grad for p in quick.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("op", "becomes"),
    [
        (AtomConv3d(4, 6, 3, padding=1), DenseConv3d),
        (AtomConv3d(4, 6, 3, padding=1, path="stages"), AtomConv3d),
        (AtomConv3d(4, 6, 3, padding=1).dilate(time=2), AtomConv3d),
        (MeanACSConv3d(4, 6, 3, 2, 1, bias=False), DenseConv3d),
        (ACSConv3d(4, 6, 3, padding="same", padding_mode="reflect"), DenseConv3d),
        (ACSConv3d(4, 30, 3, padding=1), ACSConv3d),
        (PlanarConv3d(4, 6, 3, padding=1), PlanarConv3d),
        (CausalConv3d(4, 6, 3, padding=1), CausalConv3d),
        (nn.Conv3d(4, 6, 3, padding=1, groups=2), DenseConv3d),
    ],
)
def test_kernels_are_mixed_once_where_that_is_quicker(op, becomes):
    model = lively(nn.Sequential(op, nn.BatchNorm3d(op.out_channels)))
    x = torch.randn(2, 4, 6, 7, 8)
    quick = fold(model, example=x)
    assert [type(layer) for layer in quick] == [becomes, nn.Identity]
    torch.testing.assert_close(quick(x), model(x), atol=1e-5, rtol=1e-5)


class Shared(nn.Module):
    """One norm for two convolutions, and one convolution that two read."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv3d(2, 2, 3, padding=1) for _ in range(3))
        self.norm, self.other = nn.BatchNorm3d(2), nn.BatchNorm3d(2)

    def forward(self, x):
        y = self.c(x)
        return self.norm(self.a(x)) + self.norm(self.b(x)) + self.other(y) + y


def test_a_norm_that_is_not_alone_stays():
    model = lively(Shared())
    x = torch.randn(1, 2, 6, 6, 6)
    quick = fold(model, example=x)
    assert isinstance(quick.norm, nn.BatchNorm3d)
    assert isinstance(quick.other, nn.BatchNorm3d)
    torch.testing.assert_close(quick(x), model(x))


def test_tied_weights_are_scaled_apart():
    model = nn.Sequential(
        nn.Conv3d(2, 2, 3, padding=1), nn.BatchNorm3d(2), nn.Conv3d(2, 2, 3, padding=1)
    )
    model[2].weight = model[0].weight
    x = torch.randn(1, 2, 6, 6, 6)
    torch.testing.assert_close(fold(lively(model), example=x)(x), model(x), atol=1e-5, rtol=1e-5)


def test_a_folded_causal_network_streams():
    causal = convert(small("hara_resnet_18", widths=(4, 6, 6, 6)), Dissect())
    quick = fold(causal)
    live = lean3d.stream(quick)
    clip, state = torch.randn(1, 3, 5, 32, 32), live.init()
    for frame in clip.unbind(2):
        answer, state = live.step(frame, state)
    torch.testing.assert_close(answer, causal(clip), atol=1e-4, rtol=1e-4)


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv3d(2, 2, 3, padding=1), nn.BatchNorm3d(2)

    def forward(self, x):
        return self.norm(self.conv(x)) * self.conv.weight.mean()


def test_what_reads_weights_by_itself_is_refused():
    with pytest.raises(ConversionError, match="reads the weights or norms by itself"):
        fold(lively(Reader()))
    with pytest.raises(ConversionError, match="fold: no input was found"):
        fold(nn.Sequential(nn.Conv3d(2, 4, 3), nn.Flatten(), nn.Linear(7, 2)))


class Pooled(nn.Module):
    """Calls its convolution and its norm from a forward that assumes 4-D input."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)

    def forward(self, x):
        return nn.functional.avg_pool2d(self.norm(self.conv(x)), 2)


def test_what_a_folded_forward_calls_still_sees_volumes():
    deep = convert(warm_norms(Pooled()).eval(), ACS())
    fast, x = fold(deep), torch.randn(2, 3, 6, 8, 10)
    assert isinstance(fast.conv, DenseConv3d)
    assert fast.conv(x).shape == (2, 6, 6, 8, 10)
    torch.testing.assert_close(fast(x), deep(x))


class Differenced(Pooled):
    def forward(self, x):
        first = self.conv.weight[:, :1].expand(-1, 6, -1, -1)
        return nn.functional.conv2d(self.conv(x), first - self.conv.weight.mean())


def test_a_forward_that_computes_with_a_2d_kernel_is_refused():
    with pytest.raises(ConversionError, match="reads the weights"):
        fold(convert(Differenced().eval(), ACS()))


class Gated(Pooled):
    def forward(self, x):
        y = self.norm(self.conv(x))
        return y * y.mean((2, 3), keepdim=True).sigmoid()


class Residual(Pooled):
    def __init__(self):
        super().__init__()
        self.second = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6))
        self.third, self.last = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)

    def forward(self, x):
        y = F.relu(self.norm(self.conv(x)))
        return F.interpolate(self.last(self.third(self.second(y) + y)), scale_factor=2.0)


class PadsItself(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias)


class Activated(nn.BatchNorm2d):
    """Calls a module after the norm, as timm's BatchNormAct2d does."""

    def __init__(self, channels):
        super().__init__(channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        own = (self.running_mean, self.running_var, self.weight, self.bias)
        return self.act(F.batch_norm(x, *own, self.training, 0.1, self.eps))


def with_parts(conv=None, norm=None):
    model = Pooled()
    model.conv, model.norm = conv or model.conv, norm or model.norm
    return model


@pytest.mark.parametrize("how", [ACS(), lean3d.Inflate()], ids=lambda how: type(how).__name__)
@pytest.mark.parametrize(
    "build",
    [
        Gated,
        Residual,
        lambda: with_parts(PadsItself(3, 6, 3)),
        lambda: with_parts(None, Activated(6)),
    ],
    ids=["gated", "residual", "pads itself", "activated"],
)
def test_norms_read_through_a_merged_forward_are_fused(build, how):
    deep = convert(lively(build()), how)
    x = torch.randn(2, 3, 6, 8, 10)
    quick = fold(deep, example=x)
    assert not [m for m in quick.modules() if isinstance(m, NORMS)]
    torch.testing.assert_close(quick(x), deep(x), atol=1e-5, rtol=1e-5)


class ReadTwice(Pooled):
    def forward(self, x):
        y = self.conv(x)
        return F.max_pool2d(self.norm(y) + y, 2)


class AfterARelu(Pooled):
    def forward(self, x):
        return F.max_pool2d(self.norm(F.relu_(self.conv(x))), 2)


class CalledTwice(Pooled):
    def forward(self, x):
        return F.max_pool2d(self.norm(self.conv(x)) + self.norm(self.conv(x.flip(3))), 2)


class Standardised(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight / weight.std((1, 2, 3), keepdim=True), self.bias, padding=1)


@pytest.mark.parametrize(
    "build",
    [ReadTwice, AfterARelu, CalledTwice, lambda: with_parts(Standardised(3, 6, 3))],
    ids=["read twice", "after a relu", "called twice", "standardised"],
)
def test_norms_that_are_no_factor_of_the_weight_stay(build):
    deep, x = convert(lively(build()), ACS()), torch.randn(2, 3, 6, 8, 10)
    quick = fold(deep, example=x)
    assert isinstance(quick.norm, nn.BatchNorm2d)
    torch.testing.assert_close(quick(x), deep(x))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_what_is_compiled_or_no_network_is_refused():
    x = torch.randn(1, 1, 8, 8)
    for model in (torch.jit.trace(nn.Conv2d(1, 2, 3).eval(), x), 3):
        with pytest.raises(ConversionError, match="that is not compiled, got"):
            fold(model, example=x)
