"""ResNet3D, CSN, its study, R(2+1)D and MC3: what their papers and releases say of them."""

from functools import partial

import pytest
import torch
from torch import nn

from lean3d.cost import count
from lean3d.errors import LeanError
from lean3d.models import create_model
from lean3d.ops import ACSConv3d, CausalConv3d, SpaceTimeConv3d

NARROW = dict(widths=(8, 8, 12, 16), num_classes=5)


def on_meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def answers_alike(one, other, shape=(2, 3, 5, 19, 21)):
    other.load_state_dict(one.state_dict())
    x = torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(one.eval()(x), other.eval()(x))


def test_resnet3d_34_has_the_parameters_pmscn_prints():
    assert parameters(on_meta("resnet3d_34", num_classes=101)) == 63_527_717


@pytest.mark.parametrize(
    ("name", "millions"),
    [("ir_csn_50", 13.13), ("ir_csn_101", 22.21), ("ir_csn_152", 29.70), ("ip_csn_152", 33.02)],
)
def test_csn_has_the_parameters_others_list(name, millions):
    """mmaction2's and pytorchvideo's model zoos."""
    assert round(parameters(on_meta(name)) / 1e6, 2) == millions


@pytest.mark.parametrize(("name", "keys"), [("ir_csn_152", 932), ("ip_csn_152", 1232)])
def test_csn_152_has_the_names_of_the_release(name, keys):
    state = on_meta(name).state_dict().keys()
    assert len(state) == keys
    local = "conv2.0" if name == "ir_csn_152" else "conv2.0.2"
    norms = ["conv1.1", "conv2.1", "conv3.1"] + (["conv2.0.1"] if name == "ip_csn_152" else [])
    block = [f"{norm}.running_var" for norm in norms] + ["conv1.0.weight", "conv3.0.weight"]
    block += [f"{local}.weight", "downsample.0.weight", "downsample.1.bias"]
    assert {"stem.0.weight", "stem.1.weight", "fc.weight", "fc.bias"} <= state
    assert {f"layer3.0.{key}" for key in block} <= state


def test_csn_separates_channels_and_every_other_kernel_is_1x1x1():
    for name in ("ir_csn_26", "ip_csn_26"):
        convs = [m for m in on_meta(name).modules() if isinstance(m, nn.Conv3d)][1:]
        local = [conv for conv in convs if conv.kernel_size == (3, 3, 3)]
        assert len(local) == 8
        assert all(conv.groups == conv.in_channels == conv.out_channels for conv in local)
        assert all(conv.kernel_size == (1, 1, 1) for conv in convs if conv not in local)


def test_ip_has_a_norm_and_no_relu_between_its_two_convolutions():
    pair = on_meta("ip_csn_26").layer1[0].conv2[0]
    assert [type(part) for part in pair] == [nn.Conv3d, nn.BatchNorm3d, nn.Conv3d]
    other = on_meta("ip_csn_26", relu=True)
    kinds = [type(part) for part in other.layer1[0].conv2[0]]
    assert kinds == [nn.Conv3d, nn.BatchNorm3d, nn.ReLU, nn.Conv3d]
    assert other.state_dict().keys() == on_meta("ip_csn_26").state_dict().keys()
    with pytest.raises(LeanError, match="ir_csn_26 has no 1x1x1 before its 3x3x3"):
        on_meta("ir_csn_26", relu=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("simple_8", "resnet3d_18"),
        ("simple_16", "resnet3d_34"),
        ("bottleneck_8", "resnet3d_26"),
        ("bottleneck_16", "resnet3d_50"),
        ("bottleneck_d_16", "ir_csn_50"),
        ("bottleneck_d_8", "ir_csn_26"),
    ],
)
def test_the_study_begins_at_resnet3d_and_passes_ir_csn(one, other):
    answers_alike(create_model(one, **NARROW), create_model(other, **NARROW))


@pytest.mark.parametrize("kind", ["simple_g_8", "bottleneck_g_16"])
def test_as_many_groups_as_one_are_none(kind):
    plain = create_model(kind.replace("_g", ""), **NARROW)
    answers_alike(plain, create_model(kind, groups=1, **NARROW))


@pytest.mark.parametrize("kind", ["simple_g_8", "bottleneck_g_8", "bottleneck_dg_8"])
def test_more_groups_cost_less_and_let_fewer_channels_interact(kind):
    costs = [count(on_meta(kind, groups=groups), (1, 3, 8, 32, 32)) for groups in (1, 2, 64)]
    assert costs[0].macs > costs[1].macs > costs[2].macs
    assert costs[0].interactions > costs[1].interactions > costs[2].interactions


def test_bottleneck_dg_groups_its_1x1x1_and_not_its_shortcuts():
    block = on_meta("bottleneck_dg_16", groups=4).layer2[0]
    groups = [block.conv1[0].groups, block.conv2[0].groups, block.conv3[0].groups]
    assert groups == [4, 128, 4]
    assert block.downsample[0].groups == 1


def test_simple_d_widens_by_1x1x1_only_where_channels_change():
    first, second = on_meta("simple_d_8").layer2
    kinds = [
        [(conv[0].kernel_size[0], conv[0].groups) for conv in convs]
        for convs in (
            (first.conv1, first.conv2, first.conv3),
            (second.conv1, second.conv2),
        )
    ]
    assert kinds == [[(1, 1), (3, 128), (3, 128)], [(3, 128), (3, 128)]]
    assert not hasattr(second, "conv3")


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="groups must divide each of the widths"):
        create_model("simple_g_8", groups=3)


@pytest.mark.parametrize("name", ["resnet3d_18", "ir_csn_26", "simple_d_8", "p3d_63", "mc3_18"])
def test_widths_are_one_number_for_each_stage(name):
    with pytest.raises(ValueError, match="widths are 4 numbers of channels"):
        create_model(name, widths=(8, 16))


@pytest.mark.parametrize("name", ["resnet3d_18", "mc3_18", "r2plus1d_18"])
def test_pool1_halves_height_and_width_once_more(name):
    x = torch.empty(1, 3, 4, 64, 64, device="meta")
    sizes = [on_meta(name, pool1=pool1).stem(x).shape[2:] for pool1 in (False, True)]
    assert sizes == [(4, 32, 32), (4, 16, 16)]


def test_stages_halve_time_height_and_width_and_mc3_leaves_time_alone():
    x = torch.empty(1, 3, 16, 64, 64, device="meta")
    for name, time in (("resnet3d_50", 2), ("r2plus1d_18", 2), ("mc3_18", 16)):
        model = on_meta(name, pool1=False)
        y = model.layer4(model.layer3(model.layer2(model.layer1(model.stem(x)))))
        assert y.shape[2:] == (time, 4, 4)


def test_a_bottleneck_has_its_stride_on_the_3x3x3():
    block = on_meta("resnet3d_50").layer2[0]
    assert [conv[0].stride[0] for conv in (block.conv1, block.conv2, block.conv3)] == [1, 2, 1]


@pytest.mark.parametrize(
    ("midplanes", "widths"),
    [("paper", [230, 288]), ("mmaction2", [230, 288]), ("torchvision", [230, 230])],
)
def test_r2plus1d_takes_its_middle_from_the_convolution_or_from_the_block(midplanes, widths):
    block = on_meta("r2plus1d_34", midplanes=midplanes).layer2[0]
    assert [conv[0][0].out_channels for conv in (block.conv1, block.conv2)] == widths
    with pytest.raises(ValueError, match="midplanes is 'paper', 'torchvision' or 'mmaction2'"):
        create_model("r2plus1d_18", midplanes="vmz")


def test_r2plus1d_is_resnet3d_of_space_time_operators_behind_another_stem():
    one = create_model("r2plus1d_18", **NARROW).layer2.eval()
    other = create_model("resnet3d_18", conv=SpaceTimeConv3d, **NARROW).layer2.eval()
    values = zip(other.state_dict(), one.state_dict().values(), strict=True)
    other.load_state_dict(dict(values))
    x = torch.randn(1, 8, 4, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(one(x), other(x))


def test_a_depthwise_network_takes_any_operator():
    model = create_model("ir_csn_26", conv=ACSConv3d, **NARROW)
    model(torch.randn(2, 3, 5, 19, 21)).sum().backward()
    local = [m for m in model.modules() if isinstance(m, ACSConv3d)]
    assert {op.groups for op in local} == {8, 12, 16}


@pytest.mark.parametrize("name", ["resnet3d_18", "r2plus1d_18", "ip_csn_26", "p3d_63"])
def test_causal_blocks_do_not_look_ahead(name):
    torch.manual_seed(0)
    model = create_model(name, conv=partial(CausalConv3d, first="zeros"), **NARROW).eval()
    x = torch.randn(1, 8, 6, 9, 9)
    later = x.clone()
    later[:, :, 4:] += 1
    with torch.no_grad():
        one, other = (model.layer1[0](clip) for clip in (x, later))
    torch.testing.assert_close(one[:, :, :4], other[:, :, :4])
    assert not torch.allclose(one[:, :, 4:], other[:, :, 4:])


def test_starts_as_the_authors_code_does():
    torch.manual_seed(0)
    model = create_model("resnet3d_18")
    conv = model.layer3[0].conv2[0].weight
    assert conv.std().item() == pytest.approx((2 / (256 * 27)) ** 0.5, rel=0.01)
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert model.fc.bias.abs().max() == 0
    local = create_model("ir_csn_26").layer4[0].conv2[0].weight
    assert local.std().item() == pytest.approx((2 / (512 * 27)) ** 0.5, rel=0.05)


def test_p3d_has_four_pools_in_time_and_keeps_a_single_frame():
    model = on_meta("p3d_63")
    x = torch.empty(1, 3, 16, 64, 64, device="meta")
    y = model.stem(x)
    assert y.shape[2:] == (8, 16, 16)
    frames = []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        y = stage(y)
        frames.append(y.shape[2])
    assert frames == [4, 2, 1, 1]
    assert model(x[:, :, :1]).shape == (1, 400)


def test_p3d_connects_space_and_time_in_three_ways():
    model = create_model("p3d_63", **NARROW).eval()
    blocks = [model.layer1[0].conv2, model.layer1[1].conv2, model.layer1[2].conv2]
    x = torch.randn(1, 8, 4, 6, 6)
    with torch.no_grad():
        for block, form in zip(blocks, "ABC", strict=True):
            space = block.space(x)
            expected = {
                "A": block.time(space),
                "B": space + block.time(x),
                "C": space + block.time(space),
            }
            torch.testing.assert_close(block(x), expected[form].relu())


def test_p3d_can_have_one_form_and_refuses_what_is_none():
    model = create_model("p3d_63", forms="B", **NARROW)
    assert {block.conv2.form for block in [*model.layer1[:3], *model.layer2[:4]]} == {"B"}
    with pytest.raises(ValueError, match="made of A, B and C"):
        create_model("p3d_63", forms="AD")
