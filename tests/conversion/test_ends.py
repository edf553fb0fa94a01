"""in_channels= and num_classes=: other channels in, other classes out, everything between kept."""

import pytest
import torch
import torch.nn.functional as F
from flat_models import ResNet, UNet, vgg
from torch import nn

import lean3d
from lean3d.conversion import ACS, ConversionError, Inflate, MeanACS, Planar, SoftACS, convert
from lean3d.conversion.to3d.in_channels import deal

HOWS = [ACS(), MeanACS(), SoftACS(), Planar(), Inflate()]


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_one_channel_gets_the_sum_of_the_filters(how):
    flat = ResNet().eval()
    deep = convert(flat, how, in_channels=1)
    whole = convert(flat, how)
    x = torch.randn(2, 1, 9, 32, 24)
    torch.testing.assert_close(deep(x), whole(x.expand(-1, 3, -1, -1, -1)))
    assert deep.stem.in_channels == 1
    assert flat.stem.in_channels == 3
    assert deep.conversion.ends == ("in_channels=1: 'stem' took 3, whose filters were distributed",)
    assert "in_channels=1" in str(deep.conversion)


@pytest.mark.parametrize("before", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_a_gray_volume_is_answered_as_a_gray_image_whatever_its_channels(before, channels):
    torch.testing.assert_close(deal(before, channels).sum(0), torch.ones(before))
    flat = nn.Sequential(nn.Conv2d(before, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    x = torch.randn(1, 1, 5, 6, 7)
    deep, whole = convert(flat, ACS(), in_channels=channels), convert(flat, ACS())
    found = deep(x.expand(-1, channels, -1, -1, -1))
    torch.testing.assert_close(found, whole(x.expand(-1, before, -1, -1, -1)))


def test_as_many_channels_as_before_keep_the_weights():
    flat = ResNet()
    assert torch.equal(convert(flat, ACS(), in_channels=3).stem.weight, flat.stem.weight)


class Blocks(nn.Module):
    """Makes blocks of voxels channels first; `function` says in which order."""

    def __init__(self, function, channels=12):
        super().__init__()
        self.function, self.conv = function, nn.Conv2d(channels, 5, 3, padding=1)

    def forward(self, x):
        return self.conv(self.function(x))


def positions_first(x):
    batch, channels, height, width = x.shape
    x = x.view(batch, channels, height // 2, 2, width // 2, 2)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(batch, 4 * channels, height // 2, width // 2)


@pytest.mark.parametrize("function", [positions_first, lambda x: F.pixel_unshuffle(x, 2)])
def test_blocks_of_voxels_made_channels_keep_their_places(function):
    flat, image = Blocks(function), torch.randn(1, 1, 8, 10)
    expected = flat(image.expand(-1, 3, -1, -1))
    deep = convert(flat, Planar(), in_channels=1, example=image, accept="unchecked")
    flat.conv.weight = nn.Parameter(deep.conv.weight.detach())
    flat.conv.in_channels = 4
    torch.testing.assert_close(flat(image), expected)


def test_an_example_is_an_input_of_the_result():
    example = torch.randn(1, 1, 7, 40, 36)
    deep = convert(vgg(), ACS(), in_channels=1, example=example)
    assert deep(example).shape == (1, 4)


def grayscale(x):
    return torch.stack([x[:, 2], x[:, 1], x[:, 0]], 1)


NO_STEM = {
    "depthwise": nn.Conv2d(3, 3, 3, groups=3),
    "norm first": nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
    "order": Blocks(grayscale, 3),
    "weight norm": nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
    "no convolution": nn.ReLU(),
}


@pytest.mark.parametrize("name", NO_STEM)
def test_channels_that_are_more_than_convolved_are_refused(name):
    with pytest.raises(ConversionError, match="in_channels=1: "):
        convert(NO_STEM[name], ACS(), in_channels=1)


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_new_classes_leave_the_rest_as_it_was(how):
    flat = ResNet(classes=5).eval()
    deep = convert(flat, how, num_classes=11)
    assert deep(torch.randn(2, 3, 8, 32, 24)).shape == (2, 11)
    assert deep.head.out_features == 11
    kept = convert(flat, how).state_dict()
    same = {name for name, value in deep.state_dict().items() if torch.equal(value, kept[name])}
    assert kept.keys() - same == {"head.weight", "head.bias"}


def test_a_new_head_is_drawn_from_the_random_state_of_the_caller():
    torch.manual_seed(1)
    one = convert(ResNet(), ACS(), num_classes=3).head.weight
    torch.manual_seed(1)
    ResNet()
    torch.manual_seed(1)
    same = convert(ResNet(), ACS(), num_classes=3).head.weight
    other = convert(ResNet(), ACS(), num_classes=3).head.weight
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_map_gets_new_classes_and_one_channel_at_once():
    deep = convert(
        lean3d.create_model("unet2d", widths=(4, 8)), ACS(), in_channels=2, num_classes=3
    )
    assert deep(torch.randn(1, 2, 5, 8, 8)).shape == (1, 3, 5, 8, 8)
    assert deep.in_channels == 2
    assert len(deep.conversion.ends) == 2
    assert deep.conversion.grade == "isotropic"


class Auxiliary(nn.Module):
    """Two heads, one of them in training alone."""

    def __init__(self):
        super().__init__()
        self.body, self.num_classes = nn.Conv2d(3, 8, 3), 4
        self.main, self.aux = nn.Linear(8, 4), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        y = self.body(x).relu()
        main = self.main(F.adaptive_avg_pool2d(y, 1).flatten(1))
        return (main, self.aux(y).mean((2, 3))) if self.training else main


def test_heads_of_training_alone_get_the_new_classes_too():
    deep = convert(Auxiliary(), ACS(), num_classes=9)
    assert [y.shape for y in deep.train()(torch.randn(2, 3, 5, 6, 7))] == [(2, 9), (2, 9)]
    assert deep.num_classes == 9


NO_HEAD = {
    "norm last": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
    "no layer": nn.ReLU(),
    "transposed": nn.ConvTranspose2d(3, 4, 2, 2),
    "depthwise": nn.Conv2d(3, 3, 3, groups=3),
}


class Pyramid(nn.Sequential):
    def forward(self, x):
        return [x, super().forward(x)]


@pytest.mark.parametrize("flat", [*NO_HEAD.values(), Pyramid(nn.Conv2d(3, 4, 3))], ids=str)
def test_outputs_that_are_no_classes_of_one_layer_are_refused(flat):
    with pytest.raises(ConversionError, match="num_classes=2: "):
        convert(flat, ACS(), num_classes=2)


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_counts_are_checked(count):
    with pytest.raises(ConversionError, match="in_channels is a number of at least 1"):
        convert(vgg(), ACS(), in_channels=count)
    with pytest.raises(ConversionError, match="num_classes is a number of at least 1"):
        convert(vgg(), ACS(), num_classes=count)


def test_a_meta_model_gets_other_ends():
    with torch.device("meta"):
        deep = convert(UNet(), ACS(), in_channels=2, num_classes=5)
    assert deep(torch.randn(1, 2, 8, 16, 12, device="meta")).shape == (1, 5, 8, 16, 12)
