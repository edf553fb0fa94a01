"""What convert() promises of any model and any way of lifting."""

import copy
import io
import pickle

import pytest
import torch
from flat_models import BasicBlock, ResNet, UNet, mobile, vgg
from torch import nn

import lean3d
from lean3d.conversion import ACS, ConversionError, Inflate, MeanACS, Planar, SoftACS, convert

HOWS = [ACS(), ACS(split=(8, 1, 1)), MeanACS(), SoftACS(), Planar(), Planar(axis=1), Inflate()]
HOWS += [Inflate(5, "center", "zeros")]
FEW = [ACS(), SoftACS(), Planar(), Inflate()]  # one for each way of holding weights
MODELS = {"resnet": ResNet, "unet": UNet, "vgg": vgg, "mobile": mobile}


def channels(model):
    return next(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))


def volume(model, batch=2):
    torch.manual_seed(3)
    return torch.randn(batch, channels(model), 16, 32, 24)


@pytest.mark.parametrize("how", HOWS, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_every_network_becomes_3d_and_isotropic(name, how):
    flat = MODELS[name]().eval()
    deep = convert(flat, how)
    with torch.no_grad():
        y = deep(volume(flat))
        expected = flat(volume(flat)[:, :, 0])
    assert y.ndim == (5 if expected.ndim == 4 else 2)
    assert y.shape[-2:] == expected.shape[-2:]
    assert deep.conversion.grade == "isotropic"
    assert all(check.passed for check in deep.conversion.checks)
    assert not [m for m in deep.modules() if type(m).__name__.endswith("2d")]


@pytest.mark.parametrize("how", [Planar(), Inflate(), Inflate(fill="center", pad="zeros")], ids=str)
@pytest.mark.parametrize("name", ["resnet", "unet", "vgg"])
def test_a_repeated_image_gets_the_2d_answer_from_the_model_itself(name, how):
    flat = MODELS[name]().eval().double()
    deep = convert(flat, how)
    x_BCHW = volume(flat)[:, :, 0].double()
    with torch.no_grad():
        y = deep(x_BCHW.unsqueeze(2).repeat(1, 1, 16, 1, 1))
        expected = flat(x_BCHW)
    expected = expected if expected.ndim == 2 else expected.unsqueeze(2).expand_as(y)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("how", FEW, ids=str)
def test_the_2d_model_stays_as_it_was(how):
    flat = ResNet().train()
    flat.stem.weight.grad = torch.ones_like(flat.stem.weight)
    before, kinds = copy.deepcopy(flat.state_dict()), [type(m) for m in flat.modules()]
    random = torch.get_rng_state()
    convert(flat, how)
    assert [type(m) for m in flat.modules()] == kinds
    assert all(torch.equal(value, before[name]) for name, value in flat.state_dict().items())
    assert flat.training
    assert not hasattr(flat, "conversion")
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("how", FEW, ids=str)
def test_parameters_keep_their_names_and_the_result_loads_its_own_state(how):
    flat = UNet()
    deep, other = convert(flat, how), convert(UNet(), how)
    names = {name for name in deep.state_dict() if not name.endswith(".views")}
    assert names == flat.state_dict().keys()
    other.load_state_dict(deep.state_dict())
    x = volume(flat)
    assert torch.equal(deep(x), other(x))


@pytest.mark.parametrize("how", [ACS(), MeanACS(), Planar()], ids=str)
def test_2d_weights_load_into_the_converted_model(how):
    deep, flat = convert(ResNet(), how), ResNet()
    deep.load_state_dict(flat.state_dict())
    assert torch.equal(deep.blocks[0].conv1.weight, flat.blocks[0].conv1.weight)


def test_training_flags_are_kept_module_by_module():
    flat = ResNet().train()
    flat.blocks[0].eval()
    deep = convert(flat, ACS())
    flags = {path: m.training for path, m in deep.named_modules()}
    assert flags == {path: m.training for path, m in flat.named_modules()}


@pytest.mark.parametrize("how", [ACS(), Inflate(), SoftACS()], ids=str)
def test_requires_grad_is_kept_parameter_by_parameter(how):
    flat = ResNet()
    flat.stem.requires_grad_(False)
    flat.blocks[1].norm1.bias.requires_grad_(False)
    deep = convert(flat, how)
    named = dict(flat.named_parameters())
    for name, parameter in deep.named_parameters():
        twin = name.replace(".views", ".weight")
        assert parameter.requires_grad == named[twin].requires_grad, name


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("how", [SoftACS(), Inflate()], ids=str)
def test_dtype_is_kept(how, dtype):
    deep = convert(vgg().to(dtype), how)
    assert {p.dtype for p in deep.parameters()} == {dtype}


@pytest.mark.parametrize("how", FEW, ids=str)
def test_a_meta_model_converts_and_says_it_was_not_checked(how):
    with torch.device("meta"):
        flat = UNet()
    deep = convert(flat, how)
    assert all(p.is_meta for p in deep.parameters())
    assert deep(volume(flat).to("meta")).shape == (2, 3, 16, 32, 24)
    assert deep.conversion.grade == "unchecked"
    assert "meta device" in str(deep.conversion)


def test_the_model_may_be_one_convolution():
    deep = convert(nn.Conv2d(3, 6, 3, padding=1), ACS())
    assert deep(torch.randn(1, 3, 4, 5, 6)).shape == (1, 6, 4, 5, 6)
    assert [row.before for row in deep.conversion.rows] == ["Conv2d"]


def test_a_module_used_twice_stays_one_module():
    shared = nn.Conv2d(4, 4, 3, padding=1)
    deep = convert(nn.Sequential(shared, nn.ReLU(), shared), ACS())
    assert deep[0] is deep[2]
    assert len(deep.conversion.rows) == 1


class TwoNames(nn.Module):
    """One child under two names, and in a plain list as well."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 2, 3, padding=1)
        self.second = self.first
        self.path = [self.first, nn.functional.relu]

    def forward(self, x):
        for step in self.path:
            x = step(x)
        return self.second(x)


def test_a_child_under_two_names_and_in_a_list_stays_one_module():
    deep = convert(TwoNames(), ACS())
    assert deep.first is deep.second is deep.path[0]
    assert deep(torch.randn(1, 2, 3, 4, 5)).shape == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("how", [ACS(), SoftACS(), Inflate()], ids=str)
def test_tied_parameters_stay_tied(how):
    flat = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    flat[2].weight = flat[0].weight
    deep = convert(flat, how)
    assert deep[0].weight is deep[2].weight


def test_refuses_to_untie_parameters():
    flat = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
    flat[1].weight = flat[0].weight
    flat.register_parameter("also", flat[0].weight)
    with pytest.raises(ConversionError, match=r"0\.weight.*one parameter.*untie"):
        convert(flat, Inflate())


def test_hooks_are_carried_over_but_not_run_by_the_check():
    seen = []
    flat = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    flat[0].register_forward_hook(lambda module, inputs, output: seen.append(output.ndim))
    flat[1].register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    flat[0].register_full_backward_hook(lambda module, grads, outs: seen.append("backward"))
    deep = convert(flat, ACS())
    assert seen == []
    deep(torch.randn(2, 3, 5, 6, 7, requires_grad=True)).sum().backward()
    assert seen == [5, "backward"]


@pytest.mark.parametrize("how", FEW, ids=str)
def test_deepcopy_and_pickle_keep_output_and_record(how):
    flat = UNet()
    deep, x = convert(flat, how), volume(flat)
    buffer = io.BytesIO()
    torch.save(deep, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(deep), torch.load(buffer, weights_only=False)):
        assert torch.equal(other(x), deep(x))
        assert str(other.conversion) == str(deep.conversion)
    assert pickle.loads(pickle.dumps(deep.conversion)) == deep.conversion


@pytest.mark.parametrize(
    "how", [ACS(), *(pytest.param(how, marks=pytest.mark.slow) for how in FEW[1:])], ids=str
)
def test_compiles_as_one_graph(how):
    deep = convert(mobile().eval(), how)
    x = torch.randn(1, 2, 8, 10, 12)
    torch._dynamo.reset()
    compiled = torch.compile(deep, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), deep(x))


def test_gradients_reach_every_parameter():
    flat = ResNet()
    deep = convert(flat, SoftACS())
    deep(volume(flat)).square().sum().backward()
    silent = [name for name, p in deep.named_parameters() if p.grad is None]
    assert silent == []


def nested(how, accept):
    with torch.device("meta" if accept is None else "cpu"):
        return convert(lean3d.create_model("unet2d", widths=(4, 8)), how, accept=accept)


@pytest.mark.parametrize("how", [ACS(), Planar(), Inflate()], ids=str)
@pytest.mark.parametrize("accept", ["unchecked", None])
def test_an_unproven_forward_that_cannot_be_folded_runs_as_it_is(how, accept):
    deep = nested(how, accept)
    assert {row.before for row in deep.conversion.rows} == {"Conv2d", "BatchNorm2d", "MaxPool2d"}
    device = next(deep.parameters()).device
    assert deep(torch.randn(1, 1, 5, 9, 8, device=device)).shape == (1, 6, 5, 9, 8)


def test_where_selects_and_the_record_says_the_check_was_skipped():
    flat = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    deep = convert(flat, ACS(), where=lambda path, module: path != "2")
    assert isinstance(deep[2], nn.Conv2d)
    assert [row.path for row in deep.conversion.rows] == ["0"]
    assert deep.conversion.grade == "unchecked"
    assert "where= left 1 modules 2D, first '2'" in str(deep.conversion)


def test_where_that_takes_everything_is_checked():
    deep = convert(vgg(), ACS(), where=lambda path, module: True)
    assert deep.conversion.grade == "isotropic"


def test_the_record_is_a_table_that_ends_with_the_checks():
    lines = str(convert(vgg(), ACS()).conversion).splitlines()
    assert lines[0].split() == ["path", "before", "after", "exact", "weights", "kept"]
    assert lines[2].split() == ["0", "Conv2d", "ACSConv3d", "no", "yes"]
    assert lines[3].split() == ["2", "AvgPool2d", "AvgPool3d", "yes", "yes"]
    assert [line[:3] for line in lines[-4:-1]] == ["(a)", "(c)", "(s)"]
    assert lines[-1].endswith("5 modules changed, isotropic")


@pytest.mark.parametrize(
    "example",
    [torch.randn(1, 3, 40, 36), torch.randn(2, 3, 7, 40, 36), (torch.randn(3, 3, 64, 64),)],
    ids=["image", "volume", "tuple"],
)
def test_an_example_may_be_an_image_a_volume_or_a_tuple(example):
    assert convert(vgg(), ACS(), example=example).conversion.grade == "isotropic"


class Two(nn.Module):
    """Two images of different sizes and a vector."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(1, 4, 3, padding=1)
        self.up = nn.Upsample(scale_factor=2)
        self.gain = nn.Linear(5, 1)

    def forward(self, a, b, vector):
        scale = self.gain(vector).sum()
        return {"map": self.one(a) * scale + self.up(self.two(b)), "list": [a, b]}


def test_several_inputs_and_nested_outputs_are_checked():
    example = (torch.randn(2, 2, 24, 20), torch.randn(2, 1, 12, 10), torch.randn(2, 5))
    deep = convert(Two(), ACS(), example=example)
    assert deep.conversion.grade == "isotropic"
    with pytest.raises(ConversionError, match="pass example="):
        convert(Two(), ACS())


class OnlyFloat(nn.Module):
    """A forward that casts to float32."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)

    def forward(self, x):
        return self.conv(x.float())


def test_a_forward_that_cannot_run_in_double_is_checked_in_single():
    checks = convert(OnlyFloat(), ACS()).conversion.checks
    assert checks[0].tolerance >= 1e-4
    assert all(check.passed for check in checks)


@pytest.mark.parametrize("how", [ACS, "ACS", None])
def test_refuses_what_is_not_a_way_of_lifting(how):
    with pytest.raises(ConversionError, match=r"how must be ACS\(\)"):
        convert(vgg(), how)


@pytest.mark.parametrize(
    "model", [nn.Conv3d(3, 4, 3), nn.ConvTranspose3d(3, 4, 2), convert(nn.Conv2d(3, 4, 3), ACS())]
)
def test_refuses_what_is_3d_already(model):
    with pytest.raises(ConversionError, match="is 3D already"):
        convert(model, ACS())


def test_refuses_to_overwrite_an_attribute_of_the_model():
    flat = vgg()
    flat.conversion = "mine"
    with pytest.raises(ConversionError, match="'conversion' of its own"):
        convert(flat, ACS())


def test_the_parts_of_the_model_can_be_called_alone():
    flat = nn.Sequential(BasicBlock(3, 4, 2), nn.AdaptiveAvgPool2d(2))
    deep = convert(flat, ACS())
    assert deep[0](torch.randn(1, 3, 9, 8, 7)).shape == (1, 4, 5, 4, 4)
