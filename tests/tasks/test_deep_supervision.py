import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lean3d
from lean3d.data import Regions
from lean3d.errors import RunError
from lean3d.tasks.deep_supervision import DeepSupervision
from lean3d.tasks.segmentation import Segmentation

WIDTHS = (4, 6, 8, 10)
SHAPES = {"unet3d": (1, 1, 16, 16, 16), "unet2d": (1, 1, 16, 16)}


def network(name="unet3d"):
    torch.manual_seed(0)
    return lean3d.create_model(name, widths=WIDTHS, num_classes=3, skip="full")


@pytest.mark.parametrize("name", SHAPES)
def test_heads_are_on_the_decoder_at_every_coarser_resolution(name):
    model = network(name)
    deep = DeepSupervision(model, 3, SHAPES[name], 2)
    with deep.watching(model) as outputs:
        model(torch.randn(2, *SHAPES[name][1:]))
    sides = [tuple(y.shape) for y in outputs]
    assert sides == [(2, 3, *[side] * len(SHAPES[name][2:])) for side in (8, 4)]
    # the decoder's maps, and not the encoder's of the same size
    assert not any(path.startswith("encoder") for path in deep.paths)
    assert [head.in_channels for head in deep.heads] == [6, 8]
    assert not model.decoder[0]._forward_hooks


def test_the_loss_halves_the_weight_of_each_coarser_map():
    outputs = [torch.randn(2, 3, side, side, side) for side in (8, 4, 2)]
    label = torch.randint(0, 3, (2, 8, 8, 8))
    small = [label, label[:, ::2, ::2, ::2], label[:, ::4, ::4, ::4]]
    terms = [F.cross_entropy(y, t) for y, t in zip(outputs, small, strict=True)]
    expected = (4 * terms[0] + 2 * terms[1] + terms[2]) / 7
    torch.testing.assert_close(DeepSupervision.loss(F.cross_entropy, outputs, label), expected)


@pytest.mark.parametrize("regions", [None, Regions.read(("all=1,2", "core=2"), 3)])
def test_a_task_trains_the_heads_and_predicts_without_them(regions):
    model = network()
    num = 3 if regions is None else 2
    model.head = nn.Conv3d(model.head.in_channels, num, 1)
    deep = DeepSupervision(model, num, SHAPES["unet3d"], 2)
    task = Segmentation(model, 3, loss="ce", deep=deep, regions=regions, freeze=["encoder.0"])
    names = [name for name, _ in task.learnt()]
    assert {"deep.heads.0.weight", "deep.heads.1.bias", "head.weight"} <= set(names)
    trained = {id(p) for group in task.configure_optimizers().param_groups for p in group["params"]}
    assert all(id(p) in trained for p in deep.parameters())
    x, label = torch.randn(2, 1, 16, 16, 16), torch.randint(0, 3, (2, 16, 16, 16))
    loss = task.deep_loss(x, label)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in deep.parameters())
    assert loss != task.loss(model(x), label)
    assert task(x).shape == (2, num, 16, 16, 16)


def test_more_maps_than_the_decoder_has_are_refused():
    with pytest.raises(
        RunError, match=r"deep_supervision 3: .* \(8 x 8 x 8, 4 x 4 x 4\); give at most 2"
    ):
        DeepSupervision(network(), 3, SHAPES["unet3d"], 3)
    flat = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 3, 1))
    with pytest.raises(RunError, match=r"Sequential has no decoder .* leave it out"):
        DeepSupervision(flat, 3, SHAPES["unet3d"], 1)
