"""The self-check catches rules that go wrong and forwards that speak 2D."""

from collections import OrderedDict

import pytest
import torch
from flat_models import UNet
from torch import nn

from lean3d.conversion import ACS, ConversionError, Inflate, Planar, PlaneCycle, SpaceTime, convert
from lean3d.conversion.to3d.base import To3D
from lean3d.conversion.to3d.rules import registry as rules


def around(module, channels=4):
    """A small network with `module` in its middle."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1), module, nn.Conv2d(channels, 5, 3, padding=1)
    )


# rules that forget depth, each in its own way; all pass check (a)
FORGETFUL = [
    (nn.MaxPool2d(3, 1, 1), lambda m, s: nn.MaxPool3d((1, 3, 3), 1, (0, 1, 1))),
    (nn.AvgPool2d(3, 1, 1), lambda m, s: nn.AvgPool3d((1, 3, 3), 1, (0, 1, 1))),
    (nn.AvgPool2d(2), lambda m, s: nn.AvgPool3d((1, 2, 2), (2, 2, 2))),
    (nn.Upsample(scale_factor=2), lambda m, s: nn.Upsample(scale_factor=(1, 2, 2))),
    (nn.ReplicationPad2d(1), lambda m, s: nn.ReplicationPad3d((1, 1, 1, 1, 0, 0))),
    (nn.AdaptiveAvgPool2d(3), lambda m, s: nn.AdaptiveAvgPool3d((5, 3, 3))),
]


@pytest.mark.parametrize(("module", "wrong"), FORGETFUL, ids=[str(m) for m, _ in FORGETFUL])
def test_a_rule_that_forgets_depth_is_caught_and_named(monkeypatch, module, wrong):
    convert(around(module), ACS())
    monkeypatch.setitem(rules._RULES, (To3D, type(module)), wrong)
    name = type(module).__name__[:-2]
    with pytest.raises(ConversionError, match=rf"{name}\w* at '1'.*self-check \((c|s)\)"):
        convert(around(module), ACS())


def test_a_convolution_rule_with_the_wrong_stride_is_caught_by_the_sizes(monkeypatch):
    from lean3d.conversion.to3d import acs

    right = acs.conv_arguments
    flat = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3))
    convert(flat, ACS())
    monkeypatch.setattr(
        acs, "conv_arguments", lambda conv, depth: right(conv, depth) | {"stride": (1, 2, 2)}
    )
    with pytest.raises(ConversionError, match=r"self-check \(s\)"):
        convert(flat, ACS())


class PadsInside(nn.Module):
    """Runs on volumes as it is: slices are lost at both ends, and the rest is stretched."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)

    def forward(self, x):
        y = self.conv(nn.functional.pad(x, (1, 1, 1, 1)))
        return x + nn.functional.interpolate(y, size=x.shape[2:])


@pytest.mark.parametrize("how", [Planar(), Planar(keep_depth=None)], ids=str)
@torch.no_grad()
def test_a_forward_that_runs_as_it_is_and_mixes_slices_is_not_left_so(how):
    flat = around(PadsInside())
    slices_DCHW = torch.randn(5, 3, 9, 8)
    found = convert(flat, how)(slices_DCHW.transpose(0, 1)[None])[0].transpose(0, 1)
    torch.testing.assert_close(found, flat(slices_DCHW))


class Speaks2D(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


REFUSED = {
    "softmax over rows": lambda x: x.softmax(2),
    "shares of all positions": lambda x: x.flatten(2).softmax(2).view(x.shape),
    "a fixed image": lambda x: x + torch.arange(x[0, 0].numel()).view(x.shape[2:]) / 1000,
    "frequencies": lambda x: torch.fft.fft2(x).real,
    "rows": lambda x: x.cumsum(2),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_forward_without_a_3d_meaning_is_refused_with_its_line(name):
    with pytest.raises(ConversionError, match=r"Speaks2D at '1'.*as 2D \(.*check.py:\d+"):
        convert(around(Speaks2D(REFUSED[name])), ACS())


class TallOrWide(nn.Module):
    """Takes one of two convolutions, by a comparison of height with width."""

    def __init__(self):
        super().__init__()
        self.tall, self.wide = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))

    def forward(self, x):
        height, width = x.shape[2:]
        return self.tall(x) if height > width else self.wide(x)


def test_a_branch_on_height_against_width_is_checked_on_wide_images_too():
    with pytest.raises(ConversionError, match=r"TallOrWide at '1'.*calls other modules than in 2D"):
        convert(around(TallOrWide()), ACS())


class TallOrWideWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.tall, self.wide = (nn.Parameter(torch.tensor(gain)) for gain in (0.5, 2.0))

    def forward(self, x):
        return x * (self.tall if x.shape[2] > x.shape[3] else self.wide)


def scaled(x):
    return x * (2 if x.shape[2] > x.shape[3] else 3)


@pytest.mark.parametrize("module", [Speaks2D(scaled), TallOrWideWeights()])
def test_so_are_branches_to_other_numbers_and_weights(module):
    with pytest.raises(ConversionError, match=r"^(Speaks2D|TallOrWideWeights) at '1'"):
        convert(around(module), ACS(), accept="planar")


def test_a_branch_on_height_against_width_that_changes_nothing_converts():
    same = Speaks2D(lambda x: x if x.shape[2] > x.shape[3] else x.add(0))
    assert convert(around(same), ACS()).conversion.grade == "isotropic"


def test_a_silent_branch_is_heard():
    class Silent(nn.Module):
        """Its wrong branch is switched off by a zero gain."""

        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return x + self.gain * x.cumsum(2)

    with pytest.raises(ConversionError, match=r"Silent at '1'"):
        convert(around(Silent()), ACS())


FIXED_HEAD = nn.Sequential(
    nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(196, 3)
)


def test_a_head_of_a_fixed_image_size_is_planar_and_only_where_that_will_do():
    with pytest.raises(ConversionError, match=r"Flatten at '2'.*AdaptiveAvgPool2d\(1\).*accept="):
        convert(FIXED_HEAD, ACS())
    with pytest.raises(ConversionError, match="Flatten"):
        convert(FIXED_HEAD, Planar(), accept="isotropic")
    converted = [convert(FIXED_HEAD, how) for how in (Planar(), Inflate())]
    for deep in [*converted, convert(FIXED_HEAD, ACS(), accept="planar")]:
        assert deep.conversion.grade == "planar"
        assert "(c) image in the depth-width plane" in str(deep.conversion)
        assert "failed at '2'" in str(deep.conversion)
        assert deep(torch.randn(1, 3, 9, 12, 11)).shape == (1, 3)


def test_a_head_of_a_fixed_image_size_sees_the_mean_of_the_slices():
    deep = convert(FIXED_HEAD, Planar()).eval()
    x = torch.randn(2, 3, 9, 12, 11)
    maps = deep[1](deep[0](x))
    expected = deep[3](maps.mean(2).flatten(1))
    torch.testing.assert_close(deep(x), expected)


def test_the_checks_are_skipped_by_name_only():
    conversion = convert(FIXED_HEAD, ACS(), accept="unchecked").conversion
    assert conversion.grade == "unchecked"
    assert not conversion.checks
    assert 'accept="unchecked"' in str(conversion)
    with pytest.raises(ConversionError, match="accept is one of"):
        convert(FIXED_HEAD, ACS(), accept="anything")


def test_the_first_module_that_goes_wrong_is_named_not_those_after_it():
    flat = nn.Sequential(around(nn.ReLU()), around(Speaks2D(REFUSED["rows"])), around(nn.ReLU()))
    flat[1][0] = nn.Conv2d(5, 4, 3)
    flat[2][0] = nn.Conv2d(5, 4, 3)
    with pytest.raises(ConversionError, match=r"Speaks2D at '1\.1'"):
        convert(flat, ACS())


def test_border_zeros_along_the_repeated_axis_do_not_spoil_the_check():
    flat = nn.Sequential(
        nn.ZeroPad2d(1),
        nn.Conv2d(3, 4, 1, padding=2),
        nn.AvgPool2d(3, 2, 1),
        nn.Conv2d(4, 4, 4, 2, 2),
    )
    assert convert(flat, ACS()).conversion.grade == "isotropic"


def test_a_model_without_a_size_that_runs_needs_an_example():
    flat = nn.Sequential(Speaks2D(lambda x: x.view(-1, 3, 50, 50)), nn.Conv2d(3, 4, 3))
    with pytest.raises(ConversionError, match=r"no image was found.*pass example="):
        convert(flat, ACS())


@pytest.mark.parametrize(("name", "size"), [("img_size", (50, 50)), ("image_size", 50)])
def test_the_size_that_a_module_is_made_for_is_tried(name, size):
    def one_size(x):
        assert x.shape[2:] == (50, 50)
        return x

    flat = nn.Sequential(Speaks2D(one_size), nn.Conv2d(3, 4, 3, padding=1)).eval()
    setattr(flat[0], name, size)
    deep = convert(flat, PlaneCycle(order=("HW",), keep_depth=None))
    x = torch.randn(1, 3, 4, 50, 50)
    slices = torch.stack([flat(x[:, :, depth]) for depth in range(4)], 2)
    torch.testing.assert_close(deep(x), slices)


def test_the_failure_that_is_told_is_that_of_images_with_the_channels_of_the_model():
    def refuse(x):
        raise ValueError("only images of 1000 voxels")

    flat = nn.Sequential(nn.Conv2d(2, 4, 3), Speaks2D(refuse))
    with pytest.raises(ConversionError, match=r"no image was found.*images of 1000 voxels"):
        convert(flat, ACS())


def test_an_amplifying_model_is_judged_by_its_own_rounding():
    torch.manual_seed(0)
    # a mean over more voxels is rounded otherwise
    gain = Speaks2D(lambda x: torch.sin(1e12 * x.mean((2, 3))))
    checks = convert(nn.Sequential(nn.Conv2d(3, 4, 3), gain), ACS()).conversion.checks
    assert all(check.passed for check in checks)
    assert checks[0].tolerance > 1e-6


def test_an_output_that_hides_its_tensors_cannot_be_checked():
    flat = nn.Sequential(nn.Conv2d(3, 4, 3), Speaks2D(lambda x: {x}))
    with pytest.raises(ConversionError, match="without tensors"):
        convert(flat, ACS())


def test_checks_use_three_different_sizes():
    for check in convert(UNet(), ACS()).conversion.checks:
        assert len(set(check.volume)) == 3


def test_warnings_of_trial_runs_are_not_shown():
    convert(nn.Conv2d(3, 4, 4, padding="same", dilation=1), ACS())


def test_an_average_over_a_map_smaller_than_its_window_is_no_obstacle():
    flat = nn.Sequential(nn.Conv2d(3, 4, 3, 16, 1), nn.AvgPool2d(3, 1, 1), nn.Conv2d(4, 4, 1))
    assert convert(flat, ACS()).conversion.grade == "isotropic"


def test_the_check_runs_in_one_thread_and_gives_the_others_back():
    seen = []

    def note(x):
        seen.append(torch.get_num_threads())
        return x

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        convert(around(Speaks2D(note)), ACS())
        assert torch.get_num_threads() == 2
        with pytest.raises(ConversionError):
            convert(around(Speaks2D(REFUSED["rows"])), ACS())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def test_values_that_are_not_finite_are_called_that():
    def only_images(x):
        return x / (x.numel() == 2 * 4 * 33 * 29)

    with pytest.raises(ConversionError, match=r"Speaks2D at '1'.*not finite"):
        convert(around(Speaks2D(only_images)), ACS())


class ForgetsDepthAtTheEnd(nn.Module):
    """Five halvings that round down, then a pool of the last two axes alone."""

    def __init__(self):
        super().__init__()
        convs = (nn.Conv2d(4 if i else 3, 4, 3, padding=1) for i in range(5))
        self.halvings = nn.Sequential(*(nn.Sequential(c, nn.AvgPool2d(2)) for c in convs))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        y = nn.functional.adaptive_avg_pool2d(self.halvings(x), (1, 1))
        return self.head(torch.flatten(y, 1))


def test_the_image_of_the_proof_is_not_one_voxel_deep_at_the_end():
    deep = convert(ForgetsDepthAtTheEnd(), ACS())
    assert deep(torch.randn(1, 3, 128, 64, 64)).shape == (1, 2)


WRONG_WEIGHTS = {
    "norm.weight": (float("nan"), "norm.weight holds NaN in 1 of its 4 values"),
    "conv.bias": (float("inf"), "conv.bias holds infinity in 1 of its 4 values"),
    "norm.running_mean": (float("nan"), "norm.running_mean holds NaN"),
    "norm.running_var": (-0.5, "norm.running_var holds a negative variance"),
}


@pytest.mark.parametrize(("name", "how"), [(n, h) for n in WRONG_WEIGHTS for h in (2, 3)])
def test_weights_that_make_no_numbers_are_named(name, how):
    value, said = WRONG_WEIGHTS[name]
    flat = how == 2
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if flat else (nn.Conv3d, nn.BatchNorm3d)
    model = nn.Sequential(OrderedDict(conv=conv(1, 4, 3, padding=1), norm=norm(4)))
    model.state_dict()[name][2] = value
    with pytest.raises(ConversionError, match=f"weights are wrong: {said}"):
        convert(model, ACS() if flat else SpaceTime())


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64, torch.bool])
def test_weights_that_are_no_real_numbers_are_named(dtype):
    model = nn.Sequential(nn.Conv2d(1, 4, 3))
    model[0].weight = nn.Parameter(model[0].weight.detach().to(dtype), requires_grad=False)
    said = str(dtype).removeprefix("torch.")
    with pytest.raises(ConversionError, match=rf"0\.weight is of type {said}"):
        convert(model, ACS())
