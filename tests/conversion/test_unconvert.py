"""unconvert() gives the 2D model back, with the weights the 3D one has learnt."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from flat_models import ResNet, SqueezeExcite, UNet, mobile, vgg
from torch import fx, nn

import lean3d
from lean3d.conversion import (
    ACS,
    ConversionError,
    Inflate,
    MeanACS,
    Planar,
    SoftACS,
    convert,
    unconvert,
)

SAME = [ACS(), MeanACS(), SoftACS(), Planar(), Planar(axis=1)]
HOWS = [*SAME, Inflate(), Inflate(5, "center", "zeros"), ACS(keep_depth=None)]


class Standardised(nn.Conv2d):
    """Its kernel is computed; its forward pads for a size."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), weight, self.bias, self.stride)


class Own(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias, self.stride)


class Mixed(nn.Module):
    """Every mechanism: modules alone, depth in height, depth in the batch."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate = nn.Conv2d(3, 8, 3, padding=1), SqueezeExcite(8)
        self.own = nn.Sequential(Standardised(8, 8, 3, 2), Own(8, 8, 3))
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 2)

    def forward(self, x):
        y = self.norm(F.interpolate(self.own(self.gate(self.conv(x))), scale_factor=2))
        return self.head(y.mean((2, 3)))


MODELS = {"resnet": ResNet, "unet": UNet, "vgg": vgg, "mobile": mobile, "mixed": Mixed}
CASES = [("mixed", how) for how in HOWS]
CASES += [(name, how) for name in ("resnet", "unet", "vgg", "mobile") for how in (ACS(), Inflate())]


def image(model):
    torch.manual_seed(2)
    channels = next(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    return torch.randn(2, channels, 32, 24)


@pytest.mark.parametrize(("name", "how"), CASES, ids=str)
def test_there_and_back_is_the_model_it_was(name, how):
    flat = MODELS[name]().eval()
    back = unconvert(convert(flat, how))
    assert [type(m).__name__ for m in back.modules()] == [type(m).__name__ for m in flat.modules()]
    assert str(back) == str(flat)
    assert not hasattr(back, "conversion")
    state, own = back.state_dict(), flat.state_dict()
    assert state.keys() == own.keys()
    for key, value in own.items():
        torch.testing.assert_close(state[key], value)
        assert isinstance(how, Inflate) or torch.equal(state[key], value), key
    x = image(flat)
    torch.testing.assert_close(back(x), flat(x))
    assert isinstance(how, Inflate) or torch.equal(back(x), flat(x))
    assert {k: vars(m).keys() for k, m in back.named_modules()} == {
        k: vars(m).keys() for k, m in flat.named_modules()
    }


def test_a_traced_forward_comes_back_traced():
    flat = fx.symbolic_trace(Mixed()).eval()
    back = unconvert(convert(flat, ACS()))
    assert torch.equal(back(image(flat)), flat(image(flat)))
    assert isinstance(back, fx.GraphModule)
    assert not hasattr(copy.deepcopy(back), "conversion")


def trained(flat, how):
    """Converted, with weights that are no longer those of the 2D model."""
    deep = convert(flat, how).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in deep.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return deep


@pytest.mark.parametrize("how", [ACS(), MeanACS(), Planar()], ids=str)
@pytest.mark.parametrize("make", [ResNet, Mixed])
def test_what_was_trained_in_3d_loads_into_2d_and_back_without_renaming(make, how):
    torch.manual_seed(0)
    flat = make()
    deep = trained(flat, how)
    fresh = make().eval()
    fresh.load_state_dict(deep.state_dict())
    back = unconvert(deep)
    assert torch.equal(fresh(image(flat)), back(image(flat)))
    assert not torch.equal(flat.state_dict()["head.weight"], back.head.weight)
    again = convert(make(), how).eval()
    again.load_state_dict(back.state_dict())
    x = torch.randn(1, 3, 6, 32, 24)
    assert torch.equal(again(x), deep(x))


@pytest.mark.parametrize("make", [ResNet, Mixed])
def test_2d_weights_load_into_a_soft_net_and_leave_its_mixtures(make):
    torch.manual_seed(0)
    flat, deep = make().eval(), convert(make(), SoftACS()).eval()
    for name, parameter in deep.named_parameters():
        if name.endswith("views"):
            nn.init.normal_(parameter)
    mixtures = {name: p.clone() for name, p in deep.named_parameters() if name.endswith("views")}
    deep.load_state_dict(flat.state_dict())
    state = deep.state_dict()
    assert mixtures
    assert all(torch.equal(state[name], mixture) for name, mixture in mixtures.items())
    assert all(torch.equal(state[name], value) for name, value in flat.state_dict().items())
    with pytest.raises(RuntimeError, match="weight"):
        deep.load_state_dict({name: p for name, p in state.items() if "head.weight" not in name})


def test_a_trained_inflated_net_answers_a_repeated_slice_as_what_comes_back():
    torch.manual_seed(0)
    deep = trained(ResNet(), Inflate())
    back, x = unconvert(deep), torch.randn(2, 3, 32, 24)
    found = deep(x.unsqueeze(2).repeat(1, 1, 32, 1, 1))
    torch.testing.assert_close(found, back(x), rtol=1e-4, atol=1e-5)


def test_learnt_mixtures_are_dropped_only_where_that_is_asked_for():
    torch.manual_seed(0)
    deep = trained(ResNet(), SoftACS())
    with pytest.raises(ConversionError, match=r"'stem', and \d+ more, have learnt.*lossy=True"):
        unconvert(deep)
    back = unconvert(deep, lossy=True)
    assert torch.equal(back.stem.weight, deep.stem.weight)
    assert back.state_dict().keys() == ResNet().state_dict().keys()


def test_phases_of_a_transposed_kernel_that_were_learnt_apart_are_lost():
    deep = convert(nn.ConvTranspose2d(3, 4, 4, 2, 1), Inflate())
    unconvert(deep)
    with torch.no_grad():
        deep.weight[:, :, 1] *= 2
    with pytest.raises(ConversionError, match="'the model itself', and 0 more"):
        unconvert(deep)
    assert unconvert(deep, lossy=True).weight.shape == (3, 4, 4, 4)


def test_ties_flags_hooks_and_later_settings_are_kept():
    flat = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3))
    flat[2].weight = flat[0].weight
    flat[0].weight.requires_grad_(False)
    deep, seen = convert(flat, Inflate()), []
    deep[1].momentum = 0.25
    deep[1].eval()
    deep[0].register_forward_hook(lambda module, x, y: seen.append(y.ndim))
    back = unconvert(deep)
    back(torch.randn(2, 3, 8, 8))
    assert back[0].weight is back[2].weight
    assert not back[0].weight.requires_grad
    assert back[1].momentum == 0.25
    assert [m.training for m in back] == [True, False, True]
    assert seen == [4]
    assert deep[0].weight.ndim == 5


def test_copies_and_parts_of_a_converted_model_come_back_too():
    deep = convert(Mixed(), ACS())
    for other in (copy.deepcopy(deep), pickle.loads(pickle.dumps(deep)), nn.Sequential(deep)):
        back = unconvert(other)
        assert not [m for m in back.modules() if type(m).__name__.endswith("3d")]


def test_other_ends_stay():
    back = unconvert(convert(ResNet(), ACS(), in_channels=1, num_classes=2))
    assert back(torch.randn(2, 1, 32, 24)).shape == (2, 2)


def test_what_was_never_2d_is_refused():
    for model in (ResNet(), lean3d.create_model("unet3d", widths=(4, 8))):
        with pytest.raises(ConversionError, match="not what convert"):
            unconvert(model)
    with pytest.raises(ConversionError, match="cannot be converted back"):
        unconvert(ResNet().state_dict())  # type: ignore[arg-type]
