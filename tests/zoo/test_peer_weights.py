"""Weights of the peers' own networks, built where their packages install, to the same answers."""

import pytest
import torch
from torch import nn
from torchvision.models.video import resnet as peer
from warm_norms import warm_norms
from zoo import create_csn, torchvision

from lean3d import create_model
from lean3d.checkpoints import load_checkpoint
from lean3d.checkpoints.load import open_checkpoint


def trained(model):
    torch.manual_seed(0)
    return warm_norms(model).eval()


def assert_round_trip(theirs, name, path, state, **options):
    """Every key used, none left, the same answers; and the file says how to build the model."""
    torch.save(state, path)
    ours = create_model(name, **options).eval()
    loaded = load_checkpoint(ours, path)
    assert loaded.not_loaded == loaded.unused == ()
    assert len(loaded.loaded) == len(theirs.state_dict()) == len(ours.state_dict())
    x = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        expected = theirs(x)
        assert (ours(x) - expected).abs().max() / expected.abs().max() < 1e-5
    found = open_checkpoint(path).structure
    assert found.name == name
    assert options.items() <= found.arguments.items()
    return loaded


TORCHVISION = {
    "r3d_18": ("resnet3d_18", dict(pool1=False)),
    "mc3_18": ("mc3_18", {}),
    "r2plus1d_18": ("r2plus1d_18", dict(midplanes="torchvision")),
}


@pytest.mark.parametrize("peer_name", TORCHVISION)
def test_torchvision(peer_name, tmp_path):
    name, options = TORCHVISION[peer_name]
    theirs = trained(torchvision.models.get_model(peer_name, num_classes=11))
    more = dict(num_classes=11, **options)
    loaded = assert_round_trip(theirs, name, tmp_path / "tv.pth", theirs.state_dict(), **more)
    assert (loaded.format, loaded.preprocessing.fps) == ("torchvision", 15)


class Depthwise(nn.Conv3d):
    """What VMZ gives torchvision's Bottleneck in place of its convolution."""

    def __init__(self, channels, out, midplanes=None, stride=1, padding=1):
        super().__init__(channels, out, 3, stride, padding, groups=channels, bias=False)

    @staticmethod
    def get_downsample_stride(stride):
        return (stride, stride, stride)


class Preserved(nn.Sequential):
    def __init__(self, channels, out, midplanes=None, stride=1, padding=1):
        first = nn.Conv3d(channels, out, 1, bias=False)
        super().__init__(first, nn.BatchNorm3d(out), Depthwise(out, out, None, stride))

    get_downsample_stride = Depthwise.get_downsample_stride


class PoolStem(peer.BasicStem):
    def __init__(self):
        super().__init__()
        self.append(nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)))


def vmz(conv, blocks, num_classes):
    settings = dict(block=peer.Bottleneck, conv_makers=[conv] * 4, stem=PoolStem)
    model = peer.VideoResNet(layers=blocks, num_classes=num_classes, **settings)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-3
    return trained(model)


@pytest.mark.parametrize(("mode", "conv"), [("ir", Depthwise), ("ip", Preserved)])
def test_vmz(mode, conv, tmp_path):
    theirs = vmz(conv, [3, 4, 6, 3], 359)
    name, path = f"{mode}_csn_50", tmp_path / "vmz.pth"
    loaded = assert_round_trip(theirs, name, path, theirs.state_dict(), num_classes=359)
    assert (loaded.format, loaded.eps, loaded.num_classes) == ("vmz", 1e-3, 359)


@pytest.mark.parametrize(
    ("mode", "conv", "keys"), [("ir", Depthwise, 932), ("ip", Preserved, 1232)]
)
def test_every_key_of_vmz_of_152_layers_is_one_of_ours(mode, conv, keys):
    with torch.device("meta"):
        theirs = vmz(conv, [3, 8, 36, 3], 400).state_dict()
        ours = create_model(f"{mode}_csn_152").state_dict()
    shapes = {key: value.shape for key, value in theirs.items()}
    assert shapes == {key: value.shape for key, value in ours.items()}
    assert len(shapes) == keys


def test_pytorchvideo(tmp_path):
    pools = dict(stem_pool=nn.MaxPool3d, head_pool_kernel_size=(1, 1, 1))
    theirs = trained(create_csn(model_depth=50, model_num_class=11, **pools))
    state = {"epoch": 1, "model_state": theirs.state_dict()}
    settings = dict(num_classes=11)
    loaded = assert_round_trip(theirs, "ir_csn_50", tmp_path / "ptv.pyth", state, **settings)
    assert (loaded.format, loaded.eps) == ("pytorchvideo", 1e-5)
