"""The self-check catches rules that go wrong and forwards that speak 2D."""

import pytest
import torch
import torch.nn.functional as F
from flat_models import SqueezeExcite, UNet
from torch import nn

from lean3d.convert import ACS, ConversionError, Inflate, Planar, convert, rules
from lean3d.convert.lift import Lift


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


@pytest.mark.parametrize(("module", "wrong"), FORGETFUL, ids=lambda value: str(value)[:40])
def test_a_rule_that_forgets_depth_is_caught_and_named(monkeypatch, module, wrong):
    convert(around(module), ACS())
    monkeypatch.setitem(rules._RULES, (Lift, type(module)), wrong)
    with pytest.raises(ConversionError, match=rf"{type(module).__name__[:-2]}\w* at '1'.*\(c\)"):
        convert(around(module), ACS())


def test_a_convolution_rule_with_the_wrong_stride_is_caught_by_the_sizes(monkeypatch):
    from lean3d.convert import acs

    right = acs.conv_arguments
    flat = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3))
    convert(flat, ACS())
    monkeypatch.setattr(
        acs, "conv_arguments", lambda conv, depth: right(conv, depth) | {"stride": (1, 2, 2)}
    )
    with pytest.raises(ConversionError, match=r"self-check \(s\)"):
        convert(flat, ACS())


class Speaks2D(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def unpack(x):
    batch, channels, height, width = x.shape
    return x.view(batch, channels, height, width)


SENTENCES = {
    "interpolate": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "mean": lambda x: x - x.mean((2, 3), keepdim=True),
    "mean of the last two": lambda x: x - x.mean((-2, -1), keepdim=True),
    "unpacked shape": unpack,
    "permute": lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2),
    "average": lambda x: F.avg_pool2d(x, 2),
    "maximum": lambda x: F.max_pool2d(x, 2),
    "global": lambda x: x * F.adaptive_avg_pool2d(x, 1),
    "pad": lambda x: F.pad(x, (1, 1, 1, 1)),
    "crop": lambda x: x[:, :, 1:, 1:],
    "crop of the last two": lambda x: x[..., 1:, 1:],
    "softmax over rows": lambda x: x.softmax(2),
    "flip": lambda x: x.flip(3),
    "softmax over positions": lambda x: x.flatten(2).softmax(2).view(x.shape),
}
FINE = {
    "mean over all but channels": lambda x: x - x.mean(tuple(range(2, x.ndim)), keepdim=True),
    "chunks of channels": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "gate from all positions": lambda x: (
        x * x.flatten(2).amax(2).sigmoid().view(*x.shape[:2], *[1] * (x.ndim - 2))
    ),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_a_forward_that_speaks_2d_is_refused_and_named(name):
    with pytest.raises(ConversionError, match=r"Speaks2D at '1'.*treats the tensor as 2D"):
        convert(around(Speaks2D(SENTENCES[name])), ACS())


@pytest.mark.parametrize("name", FINE)
def test_a_forward_that_holds_in_any_dimension_is_not(name):
    assert convert(around(Speaks2D(FINE[name])), ACS()).conversion.grade == "isotropic"


@pytest.mark.parametrize("axes", [(2, 3), (-2, -1)])
def test_a_global_mean_over_two_axes_before_the_head_is_refused(axes):
    # at a small size its map would be one voxel across and the fault invisible
    steps = [nn.Conv2d(3, 8, 3, 2, 1) if i == 0 else nn.Conv2d(8, 8, 3, 2, 1) for i in range(5)]
    mean = Speaks2D(lambda x: x.mean(axes))
    flat = nn.Sequential(*steps, mean, nn.Flatten(), nn.LazyLinear(4))
    flat(torch.randn(1, 3, 96, 96))
    for how in (ACS(), Planar(), Inflate()):
        with pytest.raises(ConversionError, match=r"Speaks2D|Flatten|Linear"):
            convert(flat, how)


def test_a_silent_branch_is_heard():
    class Silent(nn.Module):
        """Its wrong branch is switched off by a zero gain."""

        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return x + self.gain * (x - x.mean((-2, -1), keepdim=True))

    with pytest.raises(ConversionError, match=r"Silent at '1'"):
        convert(around(Silent()), ACS())


def test_planar_conversions_may_treat_depth_as_batch_and_say_so():
    flat = around(Speaks2D(SENTENCES["mean of the last two"]))
    for how in (Planar(), Inflate()):
        record = convert(flat, how).conversion
        assert record.grade == "planar"
        assert "(c) image in the depth-width plane" in str(record)
        assert "failed at '1'" in str(record)


def test_the_first_module_that_goes_wrong_is_named_not_those_after_it():
    flat = nn.Sequential(around(nn.ReLU()), around(SqueezeExcite(4)), around(nn.ReLU()))
    flat[1][0] = nn.Conv2d(5, 4, 3)
    flat[2][0] = nn.Conv2d(5, 4, 3)
    with pytest.raises(ConversionError, match=r"SqueezeExcite at '1\.1'"):
        convert(flat, ACS())


def test_a_flattened_map_of_fixed_size_is_refused():
    flat = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(196, 3)
    )
    says = r"Flatten at '2'.*\(2, 1372\).*in 2D there is.*\(2, 196\).*AdaptiveAvgPool2d\(1\)"
    with pytest.raises(ConversionError, match=says):
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


def test_an_amplifying_model_is_judged_by_its_own_rounding():
    gain = Speaks2D(lambda x: torch.sin(1e7 * x))
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
            convert(around(Speaks2D(SENTENCES["pad"])), ACS())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def test_values_that_are_not_finite_are_called_that():
    def only_images(x):
        return x if x.ndim == 4 else x / 0

    with pytest.raises(ConversionError, match=r"Speaks2D at '1'.*not finite"):
        convert(around(Speaks2D(only_images)), ACS())
