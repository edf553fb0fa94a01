import pytest
import torch
from torch import nn

from lean3d.conversion import Dissect, convert
from lean3d.cost import count
from lean3d.models import create_model, find_model
from lean3d.models.mobilenet import InvertedResidual
from lean3d.models.shufflenet import halved
from lean3d.ops import ACSConv3d, CausalConv3d
from lean3d.streaming import stream

LIGHT = [
    "mobilenet3d_v1",
    "mobilenet3d_v2",
    "shufflenet3d_v1",
    "shufflenet3d_v2",
    "squeezenet3d",
    "x3d_m",
]
SLOW = pytest.mark.slow


# 600 classes; x3d_m 400
@pytest.mark.parametrize(
    ("name", "options", "params"),
    [
        ("mobilenet3d_v1", dict(width=2.0), 14_104_536),
        ("mobilenet3d_v2", {}, 3_122_648),
        ("shufflenet3d_v1", dict(width=2.0), 4_758_888),
        ("shufflenet3d_v2", dict(width=2.0), 6_639_816),
        ("squeezenet3d", {}, 2_145_560),
        ("x3d_m", {}, 3_794_274),
    ],
)
def test_has_the_parameters_of_the_released_network(name, options, params):
    with torch.device("meta"):
        model = create_model(name, **options)
    assert sum(p.numel() for p in model.parameters()) == params


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        (
            "mobilenet3d_v1",
            ["features.0.0.weight", "features.13.conv2.weight", "classifier.1.bias"],
        ),
        ("mobilenet3d_v2", ["features.1.conv.3.weight", "features.17.conv.7.weight"]),
        ("shufflenet3d_v1", ["conv1.1.weight", "layer2.7.bn3.weight", "classifier.1.weight"]),
        ("shufflenet3d_v2", ["features.4.branch1.2.weight", "conv_last.0.weight"]),
        ("squeezenet3d", ["features.14.expand3x3_bn.weight", "classifier.1.bias"]),
        (
            "x3d_m",
            [
                "blocks.0.conv.conv_xy.weight",
                "blocks.4.res_blocks.6.branch2.norm_b.1.block.2.bias",
                "blocks.2.res_blocks.0.branch1_norm.weight",
                "blocks.5.pool.post_conv.weight",
                "blocks.5.proj.bias",
            ],
        ),
    ],
)
def test_parameters_have_the_names_of_the_released_network(name, keys):
    with torch.device("meta"):
        names = create_model(name).state_dict()
    assert set(keys) <= names.keys()


@pytest.mark.parametrize("name", LIGHT)
def test_takes_odd_and_tiny_clips(name):
    model = create_model(name, num_classes=5, in_channels=2).eval()
    for shape in [(1, 33, 40), (5, 37, 35)]:
        with torch.no_grad():
            assert model(torch.randn(2, 2, *shape)).shape == (2, 5)


@pytest.mark.parametrize("name", LIGHT)
def test_the_operator_stands_wherever_a_kernel_sees_time_and_space(name):
    with torch.device("meta"):
        model = create_model(name, conv=CausalConv3d)
    plain = [m.kernel_size for m in model.modules() if type(m) is nn.Conv3d]
    assert not any(time > 1 and height > 1 for time, height, _ in plain)
    assert sum(isinstance(m, CausalConv3d) for m in model.modules()) > 5


@pytest.mark.parametrize("name", ["mobilenet3d_v2", "shufflenet3d_v2", "x3d_m"])
def test_depthwise_acs_has_a_third_of_the_depthwise_weights(name):
    with torch.device("meta"):
        deep, lean = create_model(name), create_model(name, conv=ACSConv3d)
    taps = [m.weight for m in deep.modules() if getattr(m, "kernel_size", 0) == (3, 3, 3)]
    saved = sum(p.numel() for p in deep.parameters()) - sum(p.numel() for p in lean.parameters())
    assert saved == sum(w.numel() * 2 // 3 for w in taps)


def test_a_width_or_group_the_paper_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"width is one of .*, 2.0, got 3"):
        create_model("shufflenet3d_v2", width=3)
    with pytest.raises(ValueError, match="groups is one of 1, 2, 3, 4, 8, got 5"):
        create_model("shufflenet3d_v1", groups=5)


def test_an_odd_last_frame_is_its_own_second():
    x = torch.randn(1, 2, 5, 6, 6)
    whole = nn.AvgPool3d((2, 3, 3), 2, (0, 1, 1))
    y = halved()(x)
    torch.testing.assert_close(y[:, :, :2], whole(x))
    torch.testing.assert_close(y[:, :, 2:], whole(x[:, :, [4, 4]]))


def test_an_inverted_residual_adds_its_input_only_where_sizes_stay():
    x = torch.randn(1, 4, 3, 4, 4)
    kept = InvertedResidual(4, 4, 1, 6, nn.Conv3d).eval()
    torch.testing.assert_close(kept(x), x + kept.conv(x))
    assert not InvertedResidual(4, 4, 2, 6, nn.Conv3d).residual
    assert not InvertedResidual(4, 8, 1, 6, nn.Conv3d).residual


def test_shuffled_channels_let_every_group_see_every_other():
    model = create_model("shufflenet3d_v1").eval()
    unit = model.layer1[1]
    x = torch.randn(1, 240, 2, 4, 4, requires_grad=True)
    unit(x)[:, 239].sum().backward()
    assert (x.grad.abs().sum(dim=(0, 2, 3, 4)) > 0).sum() > 80


def test_an_x3d_block_starts_as_its_shortcut():
    block = create_model("x3d_m").eval().blocks[1].res_blocks[1]
    x = torch.rand(1, 24, 2, 4, 4)
    torch.testing.assert_close(block(x), x)


def test_x3d_has_the_multiply_adds_of_the_paper_at_the_crop_it_tests_with():
    with torch.device("meta"):
        cost = count(create_model("x3d_m"), (1, 3, 16, 256, 256))
    assert f"{cost.macs / 1e9:.1f}" == "6.2"


@pytest.mark.parametrize("name", LIGHT)
def test_says_its_source_and_takes_what_the_source_feeds_it(name):
    entry = find_model(name)
    assert "Table" in entry.source
    with torch.device("meta"):
        assert count(entry.build(), entry.input_shape).macs > 10**8


@pytest.mark.parametrize(
    "name", [name if name == "squeezenet3d" else pytest.param(name, marks=SLOW) for name in LIGHT]
)
def test_its_dissected_form_steps_as_it_runs(name):
    torch.manual_seed(0)
    live = stream(convert(create_model(name, num_classes=5).eval(), Dissect()))
    clip = torch.randn(1, 3, 3, 64, 64)
    state, last = live.init(batch_size=1), None
    for frame in clip.unbind(2):
        last, state = live.step(frame, state)
    torch.testing.assert_close(last, live.run(clip)[:, -1], atol=1e-5, rtol=1e-4)
