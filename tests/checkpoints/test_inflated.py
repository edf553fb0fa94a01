"""A 2D ResNet's file in 3D networks: a static video gives what each of its frames gave."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from peers import BLOCKS, WIDTHS, HaraResNet, trained
from torch import nn
from warm_norms import warm_norms

from lean3d import create_model
from lean3d.checkpoints import load_checkpoint
from lean3d.errors import LeanError
from lean3d.networks import Network
from lean3d.networks.weights import fill
from lean3d.recipes import get_recipe
from lean3d.recipes.build import build_model


class Bottleneck(nn.Module):
    """torchvision's, by its names; the stride is that of the kernel of 3."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = None
        if (channels, stride) != (4 * width, 1):
            conv = nn.Conv2d(channels, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * width))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, widths=WIDTHS, num_classes=7):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        channels = widths[0]
        for stage, (width, count) in enumerate(zip(widths, BLOCKS, strict=True), 1):
            layer = nn.Sequential()
            for block in range(count):
                layer.append(Bottleneck(channels, width, 2 if stage > 1 and not block else 1))
                channels = 4 * width
            self.add_module(f"layer{stage}", layer)
        self.fc = nn.Linear(channels, num_classes)

    def features(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    flat = warm_norms(ResNet()).eval()
    path = tmp_path / "resnet50.pth"
    torch.save(flat.state_dict(), path)
    return flat, path


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 3])
def test_a_dissected_network_gives_the_features_of_each_frame(file, frames):
    flat, path = file
    model = create_model(
        "d_resnet_50", widths=WIDTHS, num_classes=WIDTHS[-1], head="mean", frames=frames
    ).eval()
    with pytest.raises(LeanError, match=r"it has no conv_last\.weight"):
        load_checkpoint(model, path, format="imagenet")
    loaded = load_checkpoint(model, path, format="imagenet", new_head=True)
    assert loaded.not_loaded == ("conv_last.weight",)
    assert set(loaded.unused) == {"fc.weight", "fc.bias"}
    frame_BCHW = torch.rand(1, 3, 64, 64)
    still = frame_BCHW[:, :, None].expand(-1, -1, 4, -1, -1)
    found = model.layer4(model.layer3(model.layer2(model.layer1(model.stem(still)))))
    wanted = flat.features(frame_BCHW)[:, :, None].expand_as(found)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_plain_3d_network_has_them_in_the_middle(file):
    flat, path = file
    model = create_model("resnet3d_50", widths=WIDTHS, num_classes=7).eval()
    loaded = load_checkpoint(model, path, format="imagenet")
    assert loaded.not_loaded == loaded.unused == ()
    first = model.stem[0].weight
    torch.testing.assert_close(first.sum(2), flat.conv1.weight)
    assert torch.equal(model.fc.weight, flat.fc.weight)


class Basic(nn.Module):
    """torchvision's block of two kernels."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        if (channels, stride) != (width, 1):
            conv = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(width))


def test_shortcuts_without_projections_leave_those_of_the_file_out(tmp_path):
    flat = nn.Module()
    flat.conv1, flat.bn1 = nn.Conv2d(3, WIDTHS[0], 7, 2, 3, bias=False), nn.BatchNorm2d(WIDTHS[0])
    before = WIDTHS[0]
    for stage, width in enumerate(WIDTHS, 1):
        blocks = nn.Sequential(Basic(before, width, 1 + (stage > 1)), Basic(width, width, 1))
        flat.add_module(f"layer{stage}", blocks)
        before = width
    flat.fc = nn.Linear(before, 7)
    torch.save(flat.state_dict(), tmp_path / "resnet18.pth")
    model = create_model("d_resnet_18", widths=WIDTHS, num_classes=7)
    file = tmp_path / "resnet18.pth"
    loaded = load_checkpoint(model, file, format="imagenet", new_head=True)
    assert loaded.not_loaded == ("head.fc.weight", "head.fc.bias")
    left = {name for name in flat.state_dict() if ".downsample." in name and "num_b" not in name}
    assert {*left, "fc.weight", "fc.bias"} == set(loaded.unused)
    # asked for without the format, it is told
    with pytest.raises(LeanError, match="kernels are 2D: --format imagenet inflates those of a"):
        fill(model, flat.state_dict(), file="resnet18.pth", who="d_resnet_18")


def test_what_does_not_fit_is_refused(file):
    _, path = file
    shallow = create_model("d_resnet_18", widths=WIDTHS, num_classes=5, head="embedding")
    with pytest.raises(LeanError, match="does not fit DResNet"):
        load_checkpoint(shallow, path, format="imagenet", new_head=True)
    # without the format it is the file of a 2D network
    with pytest.raises(LeanError):
        load_checkpoint(create_model("resnet3d_50", widths=WIDTHS, num_classes=7), path)


def test_a_recipe_takes_the_file(file):
    flat, path = file
    given = dict(num_classes=2, widths=WIDTHS, embedding=WIDTHS[-1])
    recipe = replace(get_recipe("mars"), weights=str(path), format="imagenet", **given)
    built = build_model(recipe, weights=True)
    assert built.fresh == ("conv_last.weight",)
    torch.testing.assert_close(built.model.stem[0].weight[:, :, 0], flat.conv1.weight)


HARA = dict(blocks=BLOCKS, expansion=4)
WHOLE = dict(convert="conv3d", num_classes=7)


def hara_file(path, **settings):
    model = trained(HaraResNet(**HARA, **settings))
    torch.save({"state_dict": {f"module.{n}": x for n, x in model.state_dict().items()}}, path)
    return model, str(path)


@torch.no_grad()
def test_the_3d_file_of_a_family_fills_the_2d_network_of_its_names_once_it_is_3d(tmp_path):
    theirs, path = hara_file(tmp_path / "b.pth", shortcut="B")
    theirs.conv1.stride = (2, 2, 2)  # as the 2D network has it along height
    built = Network(f"{__file__}:ResNet", weights=path, **WHOLE).build()
    assert built.fresh == ()
    assert "3D-ResNets-PyTorch" in built.note
    x = torch.randn(1, 3, 17, 33, 35)
    torch.testing.assert_close(built.model.eval()(x), theirs(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("convert_to", ["conv3d", "p3sc1"])
def test_shortcuts_without_weights_leave_projections_afresh(tmp_path, convert_to):
    theirs, path = hara_file(tmp_path / "a.pth", in_channels=1, num_classes=0, medical=True)
    settings = dict(WHOLE, convert=convert_to, in_channels=1, weights=path)
    built = Network(f"{__file__}:ResNet", **settings).build()
    assert "MedicalNet" in built.note
    assert all(".downsample." in name or name.startswith("fc.") for name in built.fresh)
    assert sum(name.endswith("downsample.0.weight") for name in built.fresh) == 4
    own = built.model.state_dict()
    # 1x1x1 kernels are in both as they are in the file
    assert torch.equal(own["layer3.1.conv1.weight"], theirs.layer3[1].conv1.weight)
    if convert_to == "conv3d":
        assert torch.equal(own["conv1.weight"], theirs.conv1.weight)


def test_a_3d_file_does_not_fill_2d_kernels_and_says_what_it_fits(tmp_path):
    _, path = hara_file(tmp_path / "b.pth", shortcut="B")
    with pytest.raises(LeanError, match="its kernels are 3D, as those of a network converted by"):
        Network(f"{__file__}:ResNet", weights=path, **dict(WHOLE, convert="acs")).build()


def test_2d_weights_are_not_dropped_by_fresh_kernels(file):
    with pytest.raises(LeanError, match=r"takes no 2D weights; .* or convert by i3d"):
        Network(f"{__file__}:ResNet", weights=str(file[1]), **WHOLE).build()


@torch.no_grad()
def test_a_file_s_first_kernel_is_distributed_over_other_channels(tmp_path):
    theirs, path = hara_file(tmp_path / "b.pth", shortcut="B")
    given = dict(shortcut="B", widths=WIDTHS, num_classes=7)
    gray = create_model("hara_resnet_50", in_channels=1, **given).eval()
    with pytest.raises(LeanError, match=r"stem.0.weight has shape"):
        load_checkpoint(gray, path)
    load_checkpoint(gray, path, new_channels=True)
    x = torch.randn(1, 1, 8, 32, 32)
    expected = theirs(x.expand(-1, 3, -1, -1, -1))
    torch.testing.assert_close(gray(x), expected, atol=1e-4, rtol=1e-4)
    named = Network("hara_resnet_50", in_channels=1, num_classes=7, widths=WIDTHS, weights=path)
    built = replace(named, options={"shortcut": "B"}).build()
    torch.testing.assert_close(built.model.eval()(x), gray(x))
