import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lean3d.models import create_model
from lean3d.models.densenet import DenseBlock
from lean3d.ops import ParallelSeparableConv3d


def build(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def millions(model):
    return sum(p.numel() for p in model.parameters()) / 1e6


def units(model):
    return [m for m in model.modules() if isinstance(m, ParallelSeparableConv3d)]


def test_resnet3d_34_has_the_64_million_parameters_of_the_paper():
    assert sum(p.numel() for p in build("resnet3d_34", num_classes=101).parameters()) == 63_527_717


@pytest.mark.parametrize(("depth", "expected"), [(1, 32), (2, 16), (3, 11)])
def test_a_resnet_has_one_unit_for_every_n_convolutions_of_a_stage(depth, expected):
    found = units(build("psc_resnet34", streams=2, depth=depth))
    assert len(found) == expected
    assert {(unit.num_streams, unit.depth) for unit in found} == {(2, depth)}


@pytest.mark.parametrize(("depth", "expected"), [(1, 14), (2, 7), (3, 7)])
def test_a_unet_has_one_unit_for_the_two_convolutions_of_a_level(depth, expected):
    assert len(units(build("psc_unet", streams=1, depth=depth))) == expected


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_densenet_has_one_unit_for_every_convolution(depth):
    assert len(units(build("psc_densenet", depth=depth))) == 21


# the literal reading of Sec 3; the paper's tables say otherwise, see papers/pmscn
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("psc_resnet34", (63.5, 51.4, 48.5)),
        ("psc_densenet", (5.2, 5.6, 6.2)),
        ("psc_unet", (21.2, 15.7, 23.3)),
    ],
)
def test_has_the_parameters_of_a_literal_reading(name, expected):
    settings = ((1, 1), (2, 2), (2, 3))
    found = [round(millions(build(name, streams=m, depth=n)), 1) for m, n in settings]
    assert tuple(found) == expected


def test_the_plain_networks_are_as_large_as_the_paper_says():
    unet = build("unet3d", widths=(64, 128, 256, 512), skip="full", narrow=True)
    assert f"{millions(unet):.0f}" == "21"
    assert f"{millions(build('densenet3d')):.1f}" == "5.2"


@pytest.mark.parametrize("name", ["psc_resnet34", "psc_unet", "psc_densenet"])
def test_another_operator_takes_the_place_of_every_unit(name):
    model = build(name, depth=1, conv=nn.Conv3d)
    assert not units(model)
    plain = {"psc_resnet34": "resnet3d_34", "psc_densenet": "densenet3d"}.get(name)
    if plain is None:
        options = dict(widths=(64, 128, 256, 512), skip="full", narrow=True, num_classes=3)
        expected = build("unet3d", **options)
    else:
        expected = build(plain, **({"num_classes": 101} if name == "psc_resnet34" else {}))
    assert model.state_dict().keys() == expected.state_dict().keys()
    assert millions(model) == millions(expected)


def test_no_unit_reaches_across_a_pool_or_a_stage():
    model = create_model("psc_resnet34", widths=(4, 4, 6, 8), depth=3)
    shapes = []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        stage.register_forward_hook(lambda module, x, y: shapes.append(tuple(y.shape[1:])))
    model(torch.randn(2, 3, 8, 32, 32))
    assert shapes == [(4, 8, 8, 8), (4, 4, 4, 4), (6, 2, 2, 2), (8, 1, 1, 1)]


def test_a_dense_layer_sees_all_before_it():
    block = DenseBlock(3, depth=2, growth=2, conv=nn.Conv3d).eval()
    found = []
    block.layers[1].register_forward_hook(lambda module, x, y: found.append(x[0]))
    x = torch.randn(1, 3, 4, 4, 4)
    assert block(x).shape == (1, 7, 4, 4, 4)
    torch.testing.assert_close(found[0], torch.cat([x, block.layers[0](x)], dim=1))


@pytest.mark.parametrize("name", ["densenet3d", "psc_densenet"])
def test_classes_start_as_likely_as_each_other(name):
    torch.manual_seed(0)
    model = create_model(name, num_classes=4, width=8, growth=8, depths=(2, 2, 2)).train()
    scores = model(torch.randn(2, 1, 16, 16, 16))
    assert F.cross_entropy(scores, torch.zeros(2, 16, 16, 16).long()) - math.log(4) < 0.1
