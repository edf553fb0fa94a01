"""Each 2D module becomes what treats depth as height, or is refused by name."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils import spectral_norm as old_spectral_norm

from lean3d.conversion import ACS, ConversionError, Inflate, MeanACS, Planar, SoftACS, convert
from lean3d.errors import ShapeError

# modules without a kernel orientation: swapping depth and height swaps them in the answer
ALIKE = [
    nn.BatchNorm2d(4),
    nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    nn.GroupNorm(2, 4),
    nn.Softmax2d(),
    nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    nn.MaxPool2d(2, dilation=2),
    nn.AvgPool2d(3, 2, 1),
    nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    nn.AvgPool2d(2, divisor_override=3),
    nn.LPPool2d(2, 3, 2),
    nn.LPPool2d(4, 2, ceil_mode=True),
    nn.AdaptiveAvgPool2d(3),
    nn.AdaptiveAvgPool2d((None, 2)),
    nn.AdaptiveMaxPool2d((2, 1)),
    nn.ReflectionPad2d((1, 2, 3, 0)),
    nn.ReplicationPad2d(2),
    nn.ZeroPad2d((2, 1, 1, -2)),
    nn.ConstantPad2d((1, 1, 2, 0), 3.5),
    nn.CircularPad2d((1, 0, 0, 2)),
    nn.Upsample(scale_factor=2),
    nn.Upsample(scale_factor=(1.5, 2), mode="bilinear"),
    nn.Upsample(size=(11, 13), mode="bilinear", align_corners=True),
    nn.Upsample(size=12, mode="nearest-exact"),
    nn.UpsamplingNearest2d(scale_factor=3),
    nn.UpsamplingBilinear2d(size=(5, 9)),
    nn.Dropout2d(),
    nn.LocalResponseNorm(2),
    nn.Identity(),
]

SAME_WARNING = "ignore:Using padding='same' with even kernel"
pytestmark = pytest.mark.filterwarnings(SAME_WARNING)

CONVS = [
    dict(kernel_size=3),
    dict(kernel_size=3, stride=2, padding=1),
    dict(kernel_size=3, padding=2, dilation=2, groups=2),
    dict(kernel_size=5, padding="same", bias=False),
    dict(kernel_size=4, padding="same"),
    dict(kernel_size=2, stride=2, padding="valid"),
    dict(kernel_size=3, padding=1, padding_mode="reflect"),
    dict(kernel_size=3, padding=1, padding_mode="replicate"),
    dict(kernel_size=3, padding=1, padding_mode="circular", stride=2),
    dict(kernel_size=(1, 5), padding=(0, 2)),
    dict(kernel_size=(5, 1), padding=(1, 0)),
    dict(kernel_size=1, stride=2),
    dict(kernel_size=1, padding=1),
    dict(kernel_size=4, stride=2, padding=2),
    dict(kernel_size=3, padding=1, groups=2, dtype=torch.float64),
]
TRANSPOSED = [
    dict(kernel_size=2, stride=2),
    dict(kernel_size=4, stride=2, padding=1),
    dict(kernel_size=3, stride=2, padding=1, output_padding=1),
    dict(kernel_size=3, padding=1, groups=2),
    dict(kernel_size=4, stride=3, dilation=2, bias=False),
    dict(kernel_size=(3, 2), stride=(3, 2)),
]


def like(module, *shape):
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    return torch.randn(shape, dtype=dtype)


@pytest.mark.parametrize("flat", ALIKE, ids=str)
def test_depth_is_treated_as_height(flat):
    deep = convert(flat.eval(), ACS())
    x_BCDHW = torch.randn(2, 4, 8, 7, 9)
    swapped = deep(x_BCDHW.transpose(2, 3).contiguous()).transpose(2, 3)
    torch.testing.assert_close(deep(x_BCDHW)[..., 0], swapped[..., 0])
    assert deep.conversion.grade == "isotropic"


@pytest.mark.parametrize("flat", ALIKE, ids=str)
def test_an_image_repeated_along_depth_gets_the_2d_answer_inside(flat):
    deep = convert(flat.eval(), ACS())
    x_BCHW = torch.randn(2, 4, 7, 9)
    y_BCDHW = deep(x_BCHW.unsqueeze(2).repeat(1, 1, 15, 1, 1))
    middle = y_BCDHW[:, :, y_BCDHW.shape[2] // 2]
    torch.testing.assert_close(middle, flat(x_BCHW))


AVERAGES = [
    dict(padding=1, stride=1),
    dict(padding=1, stride=2, ceil_mode=True),
    dict(stride=2, ceil_mode=True),
    dict(padding=1, count_include_pad=False),
    dict(padding=1, divisor_override=5),
]


@pytest.mark.parametrize("settings", AVERAGES, ids=str)
def test_an_average_takes_as_thin_a_volume_as_it_takes_an_image(settings):
    flat = nn.AvgPool2d(3, **settings)
    deep = convert(flat, ACS())
    x_BCDW = torch.randn(2, 4, 2, 9)
    y_BCDHW = deep(x_BCDW.unsqueeze(3).repeat(1, 1, 1, 12, 1))
    torch.testing.assert_close(y_BCDHW[:, :, :, 2], flat(x_BCDW))


@pytest.mark.parametrize("settings", AVERAGES, ids=str)
def test_both_ways_of_averaging_agree(settings):
    deep = convert(nn.AvgPool2d((3, 2), **settings), Planar())
    for x in (torch.randn(2, 4, 6, 7, 8), torch.randn(4, 6, 7, 8)):
        both = deep._one_axis_after_the_other(x, deep.kernel_size, deep.divisor_override)
        torch.testing.assert_close(both, deep(x))


UNPADDED = [
    nn.MaxPool2d(2),
    nn.MaxPool2d(3, 2, ceil_mode=True),
    nn.MaxPool2d(2, dilation=3),
    nn.AvgPool2d(4),
    nn.AvgPool2d(3, 2, ceil_mode=True),
    nn.AvgPool2d(4, divisor_override=3),
    nn.LPPool2d(2, 3),
]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("flat", UNPADDED, ids=str)
def test_the_window_of_a_pool_ends_where_a_thinner_volume_does(flat, depth):
    deep = convert(flat, Planar())
    x_BCHW = torch.rand(2, 4, 9, 11)
    y_BCDHW = deep(x_BCHW.unsqueeze(2).repeat(1, 1, depth, 1, 1))
    for y_BCHW in y_BCDHW.unbind(2):
        torch.testing.assert_close(y_BCHW, flat(x_BCHW))


@pytest.mark.parametrize("settings", CONVS, ids=str)
def test_axial_outputs_see_the_image_in_a_slice_and_coronal_ones_that_in_depth(settings):
    flat = nn.Conv2d(4, 8, **settings)
    x_BCHW = like(flat, 2, 4, 11, 9)
    expected = flat(x_BCHW)
    axial = convert(flat, ACS(split=(1, 0, 0)))(x_BCHW.unsqueeze(2).repeat(1, 1, 12, 1, 1))
    coronal = convert(flat, ACS(split=(0, 1, 0)))(x_BCHW.unsqueeze(3).repeat(1, 1, 1, 12, 1))
    torch.testing.assert_close(axial[:, :, axial.shape[2] // 2], expected)
    torch.testing.assert_close(coronal[:, :, :, coronal.shape[3] // 2], expected)


@pytest.mark.parametrize("settings", TRANSPOSED, ids=str)
def test_transposed_outputs_see_the_image_in_a_slice_and_in_depth(settings):
    flat = nn.ConvTranspose2d(4, 6, **settings)
    x_BCHW = torch.randn(2, 4, 7, 5)
    expected = flat(x_BCHW)
    axial = convert(flat, ACS(split=(1, 0, 0)))(x_BCHW.unsqueeze(2).repeat(1, 1, 4, 1, 1))
    coronal = convert(flat, ACS(split=(0, 1, 0)))(x_BCHW.unsqueeze(3).repeat(1, 1, 1, 4, 1))
    for depth in axial.unbind(2):
        torch.testing.assert_close(depth, expected)
    for height in coronal.unbind(3):
        torch.testing.assert_close(height, expected)


@pytest.mark.parametrize("how", [ACS(), MeanACS(), SoftACS(), Planar(), Inflate()], ids=str)
@pytest.mark.parametrize("settings", CONVS, ids=str)
def test_sizes_along_depth_are_those_along_height(settings, how):
    flat = nn.Conv2d(4, 6, **settings)
    tall, wide = flat(like(flat, 1, 4, 13, 9)).shape, flat(like(flat, 1, 4, 8, 9)).shape
    y = convert(flat, how)(like(flat, 1, 4, 13, 8, 9))
    assert y.shape == (1, 6, tall[2], *wide[2:])


@pytest.mark.parametrize("how", [ACS(), MeanACS(), SoftACS(), Planar(), Inflate()], ids=str)
@pytest.mark.parametrize("settings", TRANSPOSED, ids=str)
def test_transposed_sizes_along_depth_are_those_along_height(settings, how):
    flat = nn.ConvTranspose2d(4, 6, **settings)
    tall, wide = flat(torch.randn(1, 4, 7, 5)).shape, flat(torch.randn(1, 4, 4, 5)).shape
    assert convert(flat, how)(torch.randn(1, 4, 7, 4, 5)).shape == (1, 6, tall[2], *wide[2:])


def test_mean_and_soft_views_start_equal():
    flat = nn.Conv2d(4, 8, 3, padding=1)
    x = torch.randn(1, 4, 5, 6, 7)
    torch.testing.assert_close(convert(flat, SoftACS())(x), convert(flat, MeanACS())(x))


def test_planar_lays_the_kernel_along_the_chosen_axis():
    flat = nn.Conv2d(2, 3, 3, padding=1)
    x_BCHW = torch.randn(1, 2, 6, 5)
    for axis in (0, 1, 2):
        x = x_BCHW.unsqueeze(2 + axis).repeat_interleave(4, dim=2 + axis)
        y = convert(flat, Planar(axis=axis))(x)
        torch.testing.assert_close(y.select(2 + axis, 1), flat(x_BCHW))


@pytest.mark.parametrize("settings", CONVS, ids=str)
@pytest.mark.parametrize(
    "how", [Inflate(), Inflate(5), Inflate(3, "center"), Inflate(None)], ids=str
)
def test_inflation_keeps_the_2d_answer_up_to_the_ends(settings, how):
    flat = nn.Conv2d(4, 6, **settings)
    x_BCHW = like(flat, 2, 4, 9, 8)
    for depth in convert(flat, how)(x_BCHW.unsqueeze(2).repeat(1, 1, 9, 1, 1)).unbind(2):
        torch.testing.assert_close(depth, flat(x_BCHW))


@pytest.mark.parametrize("kernel", [1, 2, 3, 7])
def test_inflation_without_a_depth_makes_kernels_as_deep_as_high(kernel):
    flat = nn.Conv2d(2, 3, kernel, padding=kernel // 2)
    with torch.no_grad():
        flat.weight.copy_(flat.weight.mean(dim=2, keepdim=True).expand_as(flat.weight))
    deep = convert(flat, Inflate(None, pad="zeros"))
    assert deep.kernel_size == (kernel,) * 3
    # a kernel that is even along height is even along depth, so the two can change places
    x = torch.randn(1, 2, 6, 7, 8)
    torch.testing.assert_close(deep(x.transpose(2, 3)).transpose(2, 3), deep(x))


@pytest.mark.parametrize("fill", ["mean", "center"])
@pytest.mark.parametrize("settings", TRANSPOSED, ids=str)
def test_transposed_inflation_keeps_the_2d_answer_up_to_the_ends(settings, fill):
    flat = nn.ConvTranspose2d(4, 6, **settings)
    x_BCHW = torch.randn(2, 4, 5, 6)
    for depth in convert(flat, Inflate(fill=fill))(
        x_BCHW.unsqueeze(2).repeat(1, 1, 4, 1, 1)
    ).unbind(2):
        torch.testing.assert_close(depth, flat(x_BCHW))


def test_central_inflation_keeps_the_2d_answer_of_every_slice():
    flat = nn.Conv2d(4, 6, 3, padding=1)
    x_BCDHW = torch.randn(2, 4, 5, 7, 6)
    deep = convert(flat, Inflate(fill="center", pad="zeros"))
    assert type(deep) is nn.Conv3d
    expected = torch.stack([flat(x_BCHW) for x_BCHW in x_BCDHW.unbind(2)], dim=2)
    torch.testing.assert_close(deep(x_BCDHW), expected)
    assert deep.conversion.rows[0].exact is True


def test_zero_padded_mean_inflation_is_reported_as_inexact():
    flat = nn.Conv2d(4, 6, 3, padding=1, bias=False)
    deep = convert(flat, Inflate(pad="zeros"))
    x_BCHW = torch.randn(2, 4, 7, 6)
    y = deep(x_BCHW.unsqueeze(2).repeat(1, 1, 5, 1, 1))
    torch.testing.assert_close(y[:, :, 0], flat(x_BCHW) * 2 / 3)
    assert deep.conversion.rows[0].exact is False


@pytest.mark.parametrize("how", [ACS(), Inflate(5)], ids=str)
def test_a_1x1_kernel_stays_one_voxel_deep(how):
    flat = nn.Conv2d(4, 6, 1)
    deep = convert(flat, how)
    x = torch.randn(1, 4, 3, 5, 6)
    expected = torch.stack([flat(x_BCHW) for x_BCHW in x.unbind(2)], dim=2)
    torch.testing.assert_close(deep(x), expected)


def test_pixel_shuffle_repeats_depth_and_unshuffle_undoes_it():
    x = torch.randn(1, 18, 4, 5, 6)
    flat = nn.Sequential(nn.PixelShuffle(3), nn.PixelUnshuffle(3))
    deep = convert(flat, ACS(), example=x)
    up = deep[0](x)
    assert up.shape == (1, 2, 12, 15, 18)
    assert torch.equal(up[:, :, 1], nn.functional.pixel_shuffle(x[:, :, 0], 3))
    torch.testing.assert_close(deep(x), x)
    with pytest.raises(ShapeError, match="multiple of 3"):
        deep[1](torch.randn(1, 2, 4, 6, 6))


REFUSED = [
    (nn.MaxPool2d(2, return_indices=True), "return_indices"),
    (nn.AdaptiveMaxPool2d(2, return_indices=True), "return_indices"),
    (nn.AvgPool2d(2, ceil_mode=True, divisor_override=3), "divisor_override"),
    (nn.FractionalMaxPool2d(2, output_size=4), "no 3D rule"),
    (nn.MaxUnpool2d(2), "no 3D rule"),
    (nn.Unfold(2), "no 3D rule"),
    (nn.Fold(4, 2), "no 3D rule"),
    (nn.CrossMapLRN2d(2), "no 3D rule"),
    (nn.LayerNorm([3, 8, 8]), "2D image size"),
    (nn.LazyConv2d(3, 3), "run the 2D model once"),
    (nn.LazyBatchNorm2d(), "run the 2D model once"),
]


@pytest.mark.parametrize(("module", "why"), REFUSED, ids=lambda value: type(value).__name__)
def test_refuses_a_2d_module_it_cannot_convert_and_says_where(module, why):
    with pytest.raises(ConversionError, match=rf"{type(module).__name__} at 'a\.1'.*{why}"):
        convert(nn.ModuleDict({"a": nn.Sequential(nn.ReLU(), module)}), ACS())


class Standardised(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


class SameConv(nn.Conv2d):
    """Only the constructor differs."""

    def __init__(self, channels):
        super().__init__(channels, channels, 3, padding=1)


@pytest.mark.parametrize("how", [ACS(), MeanACS(), SoftACS(), Planar(), Inflate()], ids=str)
def test_a_subclass_keeps_its_own_weight_transform(how):
    flat = nn.Sequential(Standardised(3, 4, 3, padding=1))
    deep, x = convert(flat, how), torch.randn(1, 3, 5, 6, 7)
    weight = flat[0].weight
    plain = nn.Conv2d(3, 4, 3, padding=1)
    plain.weight = nn.Parameter((weight - weight.mean((1, 2, 3), keepdim=True)).detach())
    plain.bias = flat[0].bias
    torch.testing.assert_close(deep(x), convert(plain, how)(x))
    assert isinstance(deep[0], Standardised)
    assert deep[0].weight.shape == weight.shape
    deep(x).sum().backward()
    assert all(parameter.grad is not None for parameter in deep.parameters())


def test_a_subclass_that_only_has_a_constructor_is_what_it_derives_from():
    assert convert(SameConv(3), ACS()).conversion.rows[0].after == "ACSConv3d"


def test_layer_norm_over_channels_stays():
    class ChannelsLast(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.LayerNorm(4)

        def forward(self, x):
            return self.norm(self.conv(x).movedim(1, -1)).movedim(-1, 1)

    deep = convert(ChannelsLast(), ACS())
    assert "LayerNorm" not in [row.before for row in deep.conversion.rows]


def test_sync_batch_norm_and_momentum_survive():
    flat = nn.Sequential(
        nn.SyncBatchNorm(3), nn.BatchNorm2d(3, eps=0.1, momentum=0.3, affine=False)
    )
    deep = convert(flat, ACS())
    assert isinstance(deep[0], nn.SyncBatchNorm)
    assert (deep[1].eps, deep[1].momentum, deep[1].affine) == (0.1, 0.3, False)


WEIGHTS = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "old spectral_norm": old_spectral_norm,
    "pruned": lambda conv: prune.l1_unstructured(conv, "weight", 0.5),
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("how", [ACS(split=(1, 0, 0)), Planar()], ids=str)
def test_computed_weights_are_carried_over(name, how):
    flat = WEIGHTS[name](nn.Conv2d(3, 4, 3, padding=1)).eval()
    deep = convert(flat, how)
    assert deep.state_dict().keys() == flat.state_dict().keys()
    x_BCHW = torch.randn(1, 3, 6, 7)
    expected = flat(x_BCHW)
    torch.testing.assert_close(deep(x_BCHW.unsqueeze(2))[:, :, 0], expected)
    deep(x_BCHW.unsqueeze(2)).sum().backward()
    assert all(p.grad is not None for p in deep.parameters())


@pytest.mark.parametrize("name", WEIGHTS)
def test_computed_weights_cannot_be_inflated(name):
    flat = WEIGHTS[name](nn.Conv2d(3, 4, 3, padding=1))
    with pytest.raises(ConversionError, match="weight is computed from other parameters"):
        convert(nn.Sequential(flat), Inflate())


@pytest.mark.parametrize(
    "make",
    [
        lambda: ACS(split=(1, 2)),
        lambda: ACS(split=(0, 0, 0)),
        lambda: ACS(split=(2, -1, 1)),
        lambda: ACS(keep_depth=-1),
        lambda: ACS(keep_depth=1.5),
        lambda: Planar(axis=3),
        lambda: Inflate(depth=2),
        lambda: Inflate(fill="ones"),
        lambda: Inflate(pad="reflect"),
    ],
)
def test_ways_of_lifting_check_their_arguments(make):
    with pytest.raises(ConversionError, match="got"):
        make()


def test_split_shares_are_in_proportion():
    deep = convert(nn.Conv2d(2, 10, 3), ACS(split=(4, 3, 3)))
    assert deep.split == (4, 3, 3)
    assert convert(nn.Conv2d(2, 7, 3), ACS(split=(1, 1, 0))).split == (4, 3, 0)


def test_a_volume_too_thin_to_be_reflected_repeats_its_border():
    deep = convert(nn.Sequential(nn.ReflectionPad2d((1, 2, 2, 1)), nn.Conv2d(1, 1, 3)), Planar())
    x = torch.randn(1, 1, 2, 5, 6)
    ends = F.pad(x, (0, 0, 0, 0, 2, 1), mode="replicate")
    expected = F.pad(ends, (1, 2, 2, 1, 0, 0), mode="reflect")
    torch.testing.assert_close(deep[0](x), expected)


@pytest.mark.parametrize("pad", ["replicate", "zeros"])
def test_the_inflated_stem_of_a_thin_volume_has_whole_gradients(pad):
    # oneDNN leaves parts of them unwritten where nn.Conv3d pads; see lean3d.ops.fast
    deep = convert(nn.Conv2d(3, 8, 7, 2, 3), Inflate(depth=None, pad=pad))
    x = torch.randn(2, 3, 6, 32, 24)
    junk = [torch.full((10**power,), float("nan")) for power in range(3, 7)]
    del junk
    deep(x).sum().backward()
    found = deep.weight.grad.clone()
    deep.zero_grad()
    deep.double()(x.double()).sum().backward()
    torch.testing.assert_close(found, deep.weight.grad.float(), rtol=1e-4, atol=1e-3)
