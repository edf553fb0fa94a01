"""A 2D ResNet's file in 3D networks: a static video gives what each of its frames gave."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from peers import BLOCKS, WIDTHS
from torch import nn
from warm_norms import warm_norms

from lean3d import create_model
from lean3d.checkpoints import load_checkpoint
from lean3d.errors import LeanError
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
