"""Every format, from a network of the peer's own names and forward to the same answers."""

from pathlib import Path

import pytest
import torch
from acsconv.operators import ACSConv, Conv2_5d, SoftACSConv
from light_peers import ShuffleNetV2, TimmNet
from mmaction_peers import MMCSN, MMR2Plus1d
from peers import WIDTHS, HaraResNet, blobs, trained
from torch import nn

from lean3d import Inflate, convert, create_model, ops
from lean3d.checkpoints import load_checkpoint, open_checkpoint
from lean3d.checkpoints.formats import FORMATS

HOME = Path(__file__).parents[2]


def assert_same(theirs, ours, loaded, shape=(2, 3, 5, 40, 44)):
    """Every key used, none left, and the same answers."""
    assert loaded.not_loaded == loaded.unused == ()
    assert len(loaded.loaded) == len(ours.state_dict())
    x = torch.randn(shape)
    with torch.no_grad():
        expected = theirs(x)
        difference = (ours.eval()(x) - expected).abs().max() / expected.abs().max()
    assert difference < 1e-5


def small(name, **more):
    return create_model(name, widths=WIDTHS, num_classes=7, **more)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_in_the_docs(name):
    assert f"\n| `{name}`" in (HOME / "docs" / "checkpoints.md").read_text()


@pytest.mark.parametrize("mode", ["ir", "ip"])
def test_mmaction2(mode, tmp_path):
    theirs, ours = trained(MMCSN(mode)), small(f"{mode}_csn_50")
    torch.save({"meta": {"epoch": 3}, "state_dict": theirs.state_dict()}, tmp_path / "mm.pth")
    loaded = load_checkpoint(ours, tmp_path / "mm.pth")
    assert (loaded.format, loaded.eps, loaded.num_classes) == ("mmaction2", 1e-3, 7)
    assert loaded.preprocessing.white == 255
    assert_same(theirs, ours, loaded)


def test_mmaction2_backbones_have_no_head(tmp_path):
    theirs, ours = trained(MMCSN("ir")), small("ir_csn_50")
    torch.save(theirs.backbone.state_dict(), tmp_path / "backbone.pth")
    loaded = load_checkpoint(ours, tmp_path / "backbone.pth", new_head=True)
    assert (loaded.format, loaded.not_loaded) == ("mmaction2", ("fc.weight", "fc.bias"))


def test_mmaction2_r2plus1d_cuts_the_stem_and_the_shortcuts_in_two(tmp_path):
    theirs = trained(MMR2Plus1d())
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "mm.pth")
    ours = small("r2plus1d_34", midplanes="mmaction2", pool1=True)
    loaded = load_checkpoint(ours, tmp_path / "mm.pth")
    assert (loaded.format, ours.stem[1].eps, ours.stem[4].eps) == ("mmaction2", 1e-5, 1e-3)
    given = dict(num_classes=7, midplanes="mmaction2", pool1=True)
    assert open_checkpoint(tmp_path / "mm.pth").structure.arguments == given
    assert_same(theirs, ours, loaded)


@pytest.mark.parametrize("name", ["ir_csn_50", "ip_csn_26", "ip_csn_50", "r2plus1d_34"])
def test_caffe2_blobs(name, tmp_path):
    theirs, ours = trained(small(name)), small(name)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-3
    others = {"lr": torch.ones(1), "conv1_w_momentum": torch.ones(3)}
    torch.save(blobs(theirs.state_dict()) | others, tmp_path / "blobs.pt")
    loaded = load_checkpoint(ours, tmp_path / "blobs.pt")
    assert (loaded.format, loaded.eps, set(loaded.unused)) == ("caffe2", 1e-3, set(others))
    values = theirs.state_dict()
    assert len(loaded.loaded) == sum("num_batches" not in key for key in values)
    assert all(torch.equal(ours.state_dict()[key], values[key]) for key in loaded.loaded)
    x = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs(x))


@pytest.mark.parametrize(("prefix", "shortcut"), [("module.", "A"), ("", "B")])
def test_3d_resnets(prefix, shortcut, tmp_path):
    theirs = trained(HaraResNet(shortcut=shortcut))
    ours = small("hara_resnet_18", shortcut=shortcut)
    named = {prefix + key: value for key, value in theirs.state_dict().items()}
    torch.save({"epoch": 9, "arch": "resnet-18", "state_dict": named}, tmp_path / "hara.pth")
    loaded = load_checkpoint(ours, tmp_path / "hara.pth")
    assert (loaded.format, loaded.preprocessing.frames) == ("3d-resnets", 16)
    given = open_checkpoint(tmp_path / "hara.pth").structure.arguments
    assert given.get("shortcut", "A") == shortcut
    assert_same(theirs, ours, loaded)


def test_medicalnet_loads_into_a_network_of_its_own_names(tmp_path):
    theirs, ours = trained(HaraResNet(1, medical=True)), HaraResNet(1, medical=True)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "medical.pth")
    loaded = load_checkpoint(ours, tmp_path / "medical.pth")
    assert loaded.format == "medicalnet"
    assert "voxels above 0" in str(loaded)
    assert_same(theirs, ours, loaded, (1, 1, 16, 32, 32))


@pytest.mark.parametrize(("depth", "blocks"), [(10, (1, 1, 1, 1)), (50, (3, 4, 6, 3))])
def test_medicalnet(depth, blocks, tmp_path):
    shape = dict(blocks=blocks, expansion=4 if depth == 50 else 1, medical=True)
    theirs = trained(HaraResNet(1, num_classes=0, shortcut="B", **shape))
    named = {f"module.{key}": value for key, value in theirs.state_dict().items()}
    torch.save({"state_dict": named}, tmp_path / "medical.pth")
    given = dict(in_channels=1, shortcut="B", medical=True)
    found = open_checkpoint(tmp_path / "medical.pth").structure
    assert (found.name, found.arguments) == (f"hara_resnet_{depth}", given)
    ours = small(f"hara_resnet_{depth}", **given)
    loaded = load_checkpoint(ours, tmp_path / "medical.pth", new_head=True)
    assert (loaded.format, loaded.not_loaded) == ("medicalnet", ("fc.weight", "fc.bias"))
    ours.fc = nn.Identity()
    x = torch.randn(1, 1, 18, 40, 36)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_efficient_3dcnns_resnext_has_the_names_of_3d_resnets(tmp_path):
    shape = dict(blocks=(3, 4, 23, 3), expansion=4, groups=32)
    theirs = trained(HaraResNet(shortcut="B", widths=(64, 128, 256, 512), **shape))
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "resnext.pth")
    found = open_checkpoint(tmp_path / "resnext.pth").structure
    assert (found.name, found.arguments) == ("resnext3d_101", dict(num_classes=7))
    ours = create_model(found.name, **found.arguments)
    assert_same(theirs, ours, load_checkpoint(ours, tmp_path / "resnext.pth"), (1, 3, 4, 32, 32))


def test_efficient_3dcnns_shufflenet_v2_misspells_its_branches(tmp_path):
    theirs = trained(ShuffleNetV2())
    ours = create_model("shufflenet3d_v2", width=0.25, num_classes=7)
    named = {f"module.{key}": value for key, value in theirs.state_dict().items()}
    torch.save({"state_dict": named}, tmp_path / "light.pth")
    loaded = load_checkpoint(ours, tmp_path / "light.pth")
    assert loaded.format == "efficient-3dcnns"
    assert_same(theirs, ours, loaded, (1, 3, 8, 32, 32))


def test_timm_3d_has_depth_last(tmp_path):
    theirs = trained(TimmNet(3))
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    ours = convert(TimmNet(2), Inflate(depth=None, pad="zeros"))
    loaded = load_checkpoint(ours, tmp_path / "timm.pth", format="timm_3d")
    assert loaded.not_loaded == loaded.unused == ()
    x_BCHWD = torch.randn(2, 3, 40, 44, 17)
    with torch.no_grad():
        answer = ours.eval()(x_BCHWD.permute(0, 1, 4, 2, 3))
        torch.testing.assert_close(answer, theirs(x_BCHWD), rtol=1e-5, atol=1e-5)


LIGHT = "mobilenet3d_v1", "mobilenet3d_v2", "shufflenet3d_v1", "shufflenet3d_v2", "squeezenet3d"


@pytest.mark.parametrize("name", LIGHT)
def test_efficient_3dcnns(name, tmp_path):
    theirs = trained(create_model(name, num_classes=7))
    tensors = theirs.state_dict().items()
    # the release writes the branches of ShuffleNetV2 without their r
    named = {f"module.{key.replace('.branch', '.b' + 'anch')}": value for key, value in tensors}
    torch.save({"state_dict": named, "best_prec1": torch.tensor(0.5)}, tmp_path / "light.pth")
    ours = create_model(name, num_classes=7)
    loaded = load_checkpoint(ours, tmp_path / "light.pth")
    assert (loaded.format, loaded.preprocessing.std) == ("efficient-3dcnns", (1, 1, 1))
    assert_same(theirs, ours, loaded, (1, 3, 8, 32, 32))


ACS = {
    "acs": (ACSConv, ops.ACSConv3d),
    "soft": (SoftACSConv, ops.SoftACSConv3d),
    "planar": (Conv2_5d, ops.PlanarConv3d),
}


@pytest.mark.parametrize("kind", ACS)
def test_acsconv(kind, tmp_path):
    def net(conv):
        layers = conv(1, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), conv(6, 5, 3, padding=1)
        return nn.Sequential(*layers)

    theirs, ours = (net(conv) for conv in ACS[kind])
    torch.save({"net": trained(theirs).state_dict()}, tmp_path / "acs.pth")
    loaded = load_checkpoint(ours, tmp_path / "acs.pth")
    assert loaded.format == "acsconv"
    assert_same(theirs, ours, loaded, (2, 1, 8, 10, 12))
