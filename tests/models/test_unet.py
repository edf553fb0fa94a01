from functools import partial

import pytest
import torch
from torch import nn

from lean3d.errors import LeanError, ShapeError
from lean3d.models import create_model
from lean3d.ops import ACSConv3d, ParallelSeparableConv3d, PlanarConv3d

P2SC2 = partial(ParallelSeparableConv3d, streams=2, depth=2)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "options", "published"),
    [
        ("unet2d", {}, 389_286),
        ("unet3d", dict(conv=ACSConv3d), 389_286),
        ("unet3d", dict(conv=PlanarConv3d), 389_286),
        ("unet3d", {}, 1_164_582),
    ],
)
def test_has_the_parameters_of_the_acs_proof_of_concept(name, options, published):
    assert parameters(create_model(name, **options)) == published


def test_the_2d_weights_load_into_the_acs_network_by_name():
    flat, deep = create_model("unet2d"), create_model("unet3d", conv=ACSConv3d)
    deep.load_state_dict(flat.state_dict())
    torch.testing.assert_close(deep.head.weight, flat.head.weight)


@pytest.mark.parametrize("skip", ["pooled", "full"])
@pytest.mark.parametrize("convs", [1, 2])
@pytest.mark.parametrize("conv", [None, ACSConv3d, P2SC2])
def test_gives_one_score_per_class_and_voxel_at_odd_sizes(skip, convs, conv):
    options = dict(in_channels=2, num_classes=3, widths=(4, 6, 8), skip=skip, convs=convs)
    model = create_model("unet3d", conv=conv, **options)
    assert model(torch.randn(1, 2, 9, 11, 13)).shape == (1, 3, 9, 11, 13)


@pytest.mark.parametrize("skip", ["pooled", "full"])
def test_2d_and_planar_3d_are_one_network(skip):
    flat = create_model("unet2d", widths=(4, 8), skip=skip).eval()
    deep = create_model("unet3d", widths=(4, 8), skip=skip, conv=PlanarConv3d).eval()
    deep.load_state_dict(flat.state_dict())
    image_BCHW = torch.randn(1, 1, 12, 16)
    still = image_BCHW.unsqueeze(2).expand(-1, -1, 8, -1, -1)
    torch.testing.assert_close(deep(still)[:, :, 3], flat(image_BCHW))


def test_full_skips_keep_detail_that_pooled_ones_lose():
    torch.manual_seed(0)
    x = torch.zeros(1, 1, 8, 8)
    x[..., ::2, ::2] = 1
    fine = {}
    for skip in ("pooled", "full"):
        model = create_model("unet2d", widths=(4, 8), skip=skip).eval()
        y = model(x)[0, :, 2:6, 2:6]
        fine[skip] = not torch.allclose(y[:, ::2, ::2], y[:, 1::2, 1::2])
    assert fine == {"pooled": False, "full": True}


def test_the_operator_and_the_number_of_convs_reach_every_block():
    model = create_model("unet3d", widths=(4, 8), conv=ACSConv3d, convs=1)
    kinds = [type(m) for m in model.modules() if isinstance(getattr(m, "weight", 0), nn.Parameter)]
    kinds = [kind for kind in kinds if kind is not nn.BatchNorm3d]
    assert kinds == [ACSConv3d] * 4


@pytest.mark.parametrize("conv", [ACSConv3d, partial(PlanarConv3d, axis=1), P2SC2, None])
def test_the_head_keeps_2d_weights_if_the_operator_does_and_is_plain_otherwise(conv):
    head = create_model("unet3d", widths=(4, 8), conv=conv).head
    own = conv in (P2SC2, None)
    assert (type(head) is nn.Conv3d) == own
    assert head.weight.ndim == (5 if own else 4)


def test_says_what_it_takes_when_given_an_image():
    with pytest.raises(ShapeError, match="UNet takes"):
        create_model("unet3d")(torch.randn(1, 1, 16, 16))


@pytest.mark.parametrize("bad", [dict(skip="none"), dict(widths=(8,)), dict(convs=0)], ids=str)
def test_refuses_options_that_make_no_network(bad):
    with pytest.raises(ValueError, match=r"(?i)unet"):
        create_model("unet2d", **bad)


def test_the_default_operators_are_those_of_torch():
    kinds = {
        type(m) for m in create_model("unet2d").modules() if isinstance(m, nn.modules.conv._ConvNd)
    }
    assert kinds == {nn.Conv2d}


def test_first_pools_leave_thick_slices_alone():
    model = create_model("unet3d", widths=(4, 4, 4), skip="full", keep_depth=1)
    shapes = []
    for stage in model.encoder:
        stage.register_forward_hook(lambda module, x, y: shapes.append(tuple(y.shape[2:])))
    assert model(torch.randn(1, 1, 6, 16, 16)).shape == (1, 6, 6, 16, 16)
    assert shapes == [(6, 16, 16), (6, 8, 8), (3, 4, 4)]
    with pytest.raises(LeanError, match="keep_depth"):
        create_model("unet3d", widths=(4, 4), skip="full", keep_depth=2)
    with pytest.raises(LeanError, match="keep_depth"):
        create_model("unet2d", keep_depth=1)
