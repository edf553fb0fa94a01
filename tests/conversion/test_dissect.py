"""convert(model3d, Dissect()): the past alone, every frame kept, and the same answer to a still."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from flat_models import ResNet as FlatResNet
from stream_law import assert_every_step_is_the_clip
from torch import nn

import lean3d
from lean3d import (
    ACS,
    Atoms,
    ChannelSeparated,
    ConversionError,
    Dissect,
    Inflate,
    MeanACS,
    ParallelSeparable,
    Planar,
    SpaceTime,
    convert,
    create_model,
)
from lean3d.models import find_model
from lean3d.ops import CausalConv3d
from lean3d.ops.causal_pools import LastFrames, MeanSoFar, RunningMean

WIDTHS = (4, 6, 6, 6)
NETS = {
    "hara_resnet_18": dict(widths=WIDTHS),
    "resnet3d_50": dict(widths=WIDTHS),
    "ip_csn_50": dict(widths=WIDTHS),
    "r2plus1d_18": dict(widths=WIDTHS),
    "mc3_18": dict(widths=WIDTHS),
    "shufflenet3d_v1": {},
    "unet3d": dict(widths=(4, 6)),
}
HOWS = [Dissect(), Dissect("sum", 1), Dissect("none", head="window", window=4, first="zeros")]


def build(name, **options):
    torch.manual_seed(0)
    model = create_model(name, **options).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d) and module.affine:
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model


def clip_for(model, frames=6, batch=2):
    torch.manual_seed(1)
    return torch.randn(batch, model.in_channels, frames, 32, 32)


CASES = [(name, HOWS[0]) for name in NETS] + [("hara_resnet_18", how) for how in HOWS[1:]]


@pytest.mark.parametrize(("name", "how"), CASES, ids=lambda value: getattr(value, "skip", value))
def test_every_step_of_a_dissected_network_gives_the_answer_of_the_clip(name, how):
    model = build(name, **NETS[name])
    causal = convert(model, how)
    live = lean3d.stream(causal, frame=(model.in_channels, 32, 32), check=False)
    clip = clip_for(model)
    with torch.no_grad():
        expected, state = live.run(clip), live.init(2)
    for t, frame in enumerate(clip.unbind(2)):
        answer, state = live.step(frame, state)
        torch.testing.assert_close(answer, expected[:, t], atol=1e-5, rtol=1e-5)
    assert live.chunk == 1
    assert causal.conversion.grade == "causal"
    assert all(check.passed for check in causal.conversion.checks)


@pytest.mark.parametrize("name", ["hara_resnet_18", "unet3d"])
def test_stream_takes_a_dissected_network_and_proves_it(name):
    causal = convert(build(name, **NETS[name]), Dissect())
    assert lean3d.stream(causal).delay == 0


def volumetric():
    # those that are causal, and the one whose decoder makes frames of frames
    others = {*lean3d.list_models("d_resnet*"), "unet3d_cicek"}
    return [name for name in lean3d.list_models() if "2d" not in name and name not in others]


@pytest.mark.slow
@pytest.mark.parametrize("name", volumetric())
def test_every_3d_network_of_the_registry_is_dissected_and_streams(name):
    four = len(find_model(name).takes.get("widths", ())) == 4
    model = build(name, **(dict(widths=(8, 8, 8, 8)) if four else {}))
    causal = convert(model, Dissect())
    assert causal.conversion.checks[0].passed
    assert lean3d.stream(causal).chunk == 1


def test_a_decoder_that_makes_frames_of_frames_is_refused():
    model = create_model("unet3d_cicek", widths=(4, 4))
    with pytest.raises(ConversionError, match=r"it makes frames of frames; make it \(1, k, k\)"):
        convert(model, Dissect())


class SmallUNet(nn.Module):
    def __init__(self, kernel, padding, more):
        super().__init__()
        self.down = nn.Conv2d(2, 6, 3, 2, padding=1)
        self.up = nn.ConvTranspose2d(6, 4, kernel, 2, padding, more)
        self.head = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x):
        return self.head(torch.cat([x, self.up(torch.relu(self.down(x)))], 1))


@pytest.mark.parametrize(("kernel", "padding", "more"), [(2, 0, 0), (3, 1, 1), (4, 1, 0)])
def test_a_decoder_of_one_plane_runs_on_every_frame(kernel, padding, more):
    torch.manual_seed(0)
    flat = SmallUNet(kernel, padding, more).eval()
    causal = convert(convert(flat, Planar()), Dissect())
    clip = torch.randn(2, 2, 5, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(causal(clip), torch.stack([flat(x) for x in clip.unbind(2)], 2))
    assert_every_step_is_the_clip(lean3d.stream(causal, frame=(2, 16, 16)), (2, 16, 16), frames=9)


@pytest.mark.parametrize("way", [ACS(), MeanACS(), Inflate()])
def test_a_decoder_of_several_planes_is_refused_by_its_layer(way):
    flat = SmallUNet(2, 0, 0).eval()
    with pytest.raises(ConversionError, match=r"at 'up' cannot be converted: it makes frames of"):
        convert(convert(flat, way), Dissect())


def copied(source, target, rename=lambda name: name):
    """Load the source's values into the target; both must hold the same."""
    state = {rename(name): value for name, value in source.state_dict().items()}
    assert state.keys() == target.state_dict().keys()
    target.load_state_dict(state)
    return target.eval()


@pytest.mark.parametrize("skip", ["concat", "sum", "none"])
@pytest.mark.parametrize("frames", [1, 3])
def test_a_dissected_hara_resnet_is_the_d_resnet(skip, frames):
    source = build("hara_resnet_18", widths=WIDTHS, num_classes=5)
    causal = convert(source, Dissect(skip, frames, head="window"))
    options = dict(widths=WIDTHS, num_classes=5, skip=skip, frames=frames)
    twin = copied(causal, build("d_resnet_18", **options), lambda n: n.replace("fc.", "head.fc."))
    x = clip_for(source, frames=19)
    torch.testing.assert_close(causal(x), twin(x))


def test_a_dissected_resnet3d_50_has_the_trunk_of_the_d_resnet():
    source = build("resnet3d_50", widths=WIDTHS)
    causal = convert(source, Dissect())
    twin = build("d_resnet_50", widths=WIDTHS)
    names = ("stem", "layer1", "layer2", "layer3", "layer4")
    x = y = clip_for(source)
    for name in names:
        part = copied(getattr(causal, name), getattr(twin, name))
        x, y = getattr(causal, name)(x), part(y)
    torch.testing.assert_close(x, y)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("skip", ["concat", "sum", "none"])
def test_a_still_video_keeps_the_answer_of_the_image(skip, frames):
    torch.manual_seed(0)
    flat = FlatResNet().eval()
    causal = convert(convert(flat, Inflate()), Dissect(skip, frames))
    channels = next(m.in_channels for m in flat.modules() if isinstance(m, nn.Conv2d))
    image = torch.randn(2, channels, 32, 32)
    video = image.unsqueeze(2).expand(-1, -1, 5, -1, -1)
    torch.testing.assert_close(causal(video), flat(image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("how", [ACS(), MeanACS(), Inflate(5, "center")], ids=str)
def test_what_was_made_3d_from_2d_can_be_dissected(how):
    torch.manual_seed(0)
    causal = convert(convert(FlatResNet().eval(), how), Dissect())
    assert lean3d.stream(causal).chunk == 1
    assert any(isinstance(m, CausalConv3d) and m.past for m in causal.modules())


@pytest.mark.parametrize(
    "how", [SpaceTime("rank1"), ParallelSeparable(2), ChannelSeparated(), Atoms()], ids=str
)
def test_a_lean_network_can_be_dissected(how):
    lean = convert(build("resnet3d_18", widths=WIDTHS), how)
    assert lean3d.stream(convert(lean, Dissect())).chunk == 1


def test_kernels_are_cut_as_in_sec_3_1():
    causal = convert(build("hara_resnet_18", widths=WIDTHS), Dissect())
    sizes = {p: m.kernel_size[0] for p, m in causal.named_modules() if isinstance(m, CausalConv3d)}
    assert sizes.pop("stem.0") == 3
    assert {size for path, size in sizes.items() if ".conv1." in path} == {2}
    assert {size for path, size in sizes.items() if ".conv2." in path} == {1}
    assert not [m for m in causal.modules() if max(getattr(m, "past", 0), 0) > 2]


class Plain(nn.Module):
    """No residual block: every kernel sees the past."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv3d(2, 4, 3, padding=1), nn.Conv3d(4, 4, 5, padding=2, dilation=1)
        self.c, self.pool = nn.Conv3d(4, 4, 3, 2, "valid", 2), nn.AdaptiveAvgPool3d(1)

    def forward(self, x):
        return self.pool(self.c(self.b(self.a(x).relu()))).flatten(1)


def test_without_residual_blocks_every_kernel_sees_the_past():
    causal = convert(Plain().eval(), Dissect())
    assert [m.past for m in (causal.a, causal.b, causal.c)] == [2, 1, 2]
    assert [m.kernel_size[0] for m in (causal.a, causal.b, causal.c)] == [3, 2, 2]
    assert causal.c.stride == (1, 2, 2)


def test_a_tap_goes_to_the_nearest_frame_that_is_seen():
    model = Plain().eval()
    causal = convert(model, Dissect())
    taps, cut = model.b.weight.unbind(2), causal.b.weight.unbind(2)
    torch.testing.assert_close(cut[0], taps[0] + taps[1])
    torch.testing.assert_close(cut[1], taps[2] + taps[3] + taps[4])
    row = next(row for row in causal.conversion.rows if row.path == "b")
    away = torch.stack([taps[0], taps[3], taps[4]]).norm() / model.b.weight.norm()
    assert row.exact == pytest.approx(float(away.detach()), rel=1e-5)


def test_the_pool_of_squeeze_and_excitation_answers_every_frame_and_the_last_one_once():
    causal = convert(build("x3d_m"), Dissect())
    pools = [m for m in causal.modules() if isinstance(m, (RunningMean, MeanSoFar))]
    assert sum(isinstance(m, MeanSoFar) for m in pools) == 1
    assert sum(isinstance(m, RunningMean) for m in pools) > 5


def test_a_window_starts_as_the_mean_of_its_frames():
    model = build("hara_resnet_18", widths=WIDTHS)
    x = clip_for(model, frames=4)
    window = convert(model, Dissect(head="window", window=4))
    mean = convert(model, Dissect())
    assert any(isinstance(m, LastFrames) for m in window.modules())
    torch.testing.assert_close(window(x), mean(x), atol=1e-5, rtol=1e-5)


class Averaged(nn.Module):
    """Ends as S3D does: a window, a convolution, and a mean in the forward."""

    def __init__(self, pool, last=None):
        super().__init__()
        self.trunk = nn.Conv3d(2, 4, 3, padding=1)
        self.pool, self.head = pool, nn.Conv3d(4, 4, 1)
        self.last = last or nn.Identity()

    def forward(self, x):
        return self.last(torch.mean(self.head(self.pool(self.trunk(x))), dim=(2, 3, 4)))


class Gate(nn.Module):
    """Squeeze-and-excitation by a mean in its forward, as timm does it."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Conv3d(4, 4, 1)

    def forward(self, x):
        return x * self.scale(x.mean((2, 3, 4), keepdim=True)).sigmoid()


def test_a_mean_in_a_forward_that_goes_back_to_the_frames_is_one_so_far():
    model = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), Gate(), nn.Conv3d(4, 3, 3, padding=1))
    causal = convert(model.eval(), Dissect())
    assert isinstance(causal[1].frames_so_far, RunningMean)
    assert_every_step_is_the_clip(lean3d.stream(causal, frame=(2, 16, 16)), (2, 16, 16), frames=9)


class Excited(nn.Module):
    """Squeeze-and-excitation of a mean without axes for frames, and linear layers."""

    def __init__(self, squeeze, spread):
        super().__init__()
        self.pool, self.squeeze, self.spread = nn.AdaptiveAvgPool3d(1), squeeze, spread
        self.down, self.up = nn.Linear(4, 2), nn.Linear(2, 4)

    def scale(self, w):
        return self.up(self.down(w).relu()).sigmoid()

    def forward(self, x):
        return x * self.spread(self.scale(self.squeeze(self, x)), x)


SQUEEZES = {
    "mean": lambda gate, x: x.mean((2, 3, 4)),
    "mean of the last axes": lambda gate, x: x.mean(dim=[-1, -2, -3]),
    "a pool, viewed": lambda gate, x: gate.pool(x).view(x.shape[0], x.shape[1]),
    "a pool, flattened": lambda gate, x: torch.flatten(gate.pool(x), 1),
    "a function": lambda gate, x: F.adaptive_avg_pool3d(x, 1).reshape(x.size(0), -1),
}
SPREADS = {
    "view": lambda w, x: w.view(x.size(0), x.size(1), 1, 1, 1),
    "new axes": lambda w, x: w[:, :, None, None, None],
    "unsqueeze": lambda w, x: w.unsqueeze(-1).unsqueeze(-1).unsqueeze(-1),
    "expand": lambda w, x: w.reshape(-1, x.shape[1], 1, 1, 1).expand_as(x),
}


@pytest.mark.parametrize(
    ("squeeze", "spread"),
    [*((name, "view") for name in SQUEEZES), *(("mean", name) for name in SPREADS)],
)
def test_a_mean_without_axes_for_frames_is_one_for_every_frame(squeeze, spread):
    torch.manual_seed(0)
    gate = Excited(SQUEEZES[squeeze], SPREADS[spread])
    model = nn.Sequential(nn.Conv3d(2, 4, (1, 3, 3)), gate, nn.Conv3d(4, 3, 3, padding=1)).eval()
    causal = convert(model, Dissect(), example=torch.randn(1, 2, 8, 16, 16))
    clip = torch.randn(2, 2, 6, 16, 16)
    x = model[0](clip)
    mean_BCT = x.mean((3, 4)).cumsum(2) / torch.arange(1, 7)
    scale_BCT = gate.scale(mean_BCT.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(causal[1](x), x * scale_BCT[..., None, None])
    assert_every_step_is_the_clip(lean3d.stream(causal, frame=(2, 16, 16)), (2, 16, 16), frames=9)


class Sorted(Averaged):
    """An order of frames that depends on all of them."""

    def forward(self, x):
        return super().forward(x.sort(2).values)


def test_a_mean_in_the_forward_follows_the_frames_if_a_window_leads_to_it():
    causal = convert(Averaged(nn.AvgPool3d((2, 3, 3), 1)).eval(), Dissect())
    assert isinstance(causal.pool, MeanSoFar)
    assert causal.pool._forward_hooks is not causal.pool.within._forward_hooks
    assert lean3d.stream(causal).chunk == 1


@pytest.mark.parametrize(
    "how", [Dissect(), Dissect(head="window", window=4)], ids=["mean", "window"]
)
def test_a_mean_in_a_forward_follows_the_frames(how):
    """As torchvision's MobileNetV2 and DenseNet do it."""
    causal = convert(Averaged(nn.Identity(), nn.Linear(4, 3)).eval(), how)
    assert_every_step_is_the_clip(lean3d.stream(causal, frame=(2, 16, 16)), (2, 16, 16), frames=9)
    again = pickle.loads(pickle.dumps(copy.deepcopy(causal)))
    clip = torch.randn(1, 2, 6, 16, 16)
    assert torch.equal(again(clip), causal(clip))


def test_the_model_stays_as_it_was_and_flags_stay():
    model = build("hara_resnet_18", widths=WIDTHS).double().train()
    model.layer1.eval()
    model.stem[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    causal = convert(model, Dissect(head="window"))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert causal.layer2.training
    assert not any(module.training for module in causal.layer1.modules())
    assert {p.dtype for p in causal.parameters()} == {torch.float64}
    assert [n for n, p in causal.named_parameters() if not p.requires_grad] == ["stem.0.weight"]
    assert causal.state_dict().keys() == model.state_dict().keys()


def test_the_stem_keeps_its_middle_taps_a_frame_late():
    model = build("resnet3d_18", widths=WIDTHS)
    causal = convert(model, Dissect())
    assert torch.equal(causal.stem[0].weight, model.stem[0].weight)
    assert causal.conversion.rows[0].exact is True
    seven = build("hara_resnet_18", widths=WIDTHS)
    taps = seven.stem[0].weight.unbind(2)
    cut = convert(seven, Dissect()).stem[0].weight.unbind(2)
    torch.testing.assert_close(cut[0], taps[0] + taps[1] + taps[2])
    torch.testing.assert_close(cut[1], taps[3])


def test_tied_kernels_that_would_part_are_refused():
    model = build("hara_resnet_18", widths=WIDTHS)
    model.layer1[0].conv2[0].weight = model.layer1[0].conv1[0].weight
    with pytest.raises(ConversionError, match="are one parameter"):
        convert(model, Dissect())


class Normed(Plain):
    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x):
        return super().forward(x) + self.norm(self.a(x)).mean((2, 3, 4))


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (Normed, {}, "frame by frame it gives another output"),
        (lambda: Sorted(nn.Identity()), {}, "first at 'trunk'.*mixes frames by itself"),
        (
            lambda: nn.Sequential(nn.ConvTranspose3d(2, 4, 2, 2)),
            dict(example=torch.randn(1, 2, 4, 4, 4)),
            "at '0'.*frames of frames",
        ),
        (
            lambda: nn.Sequential(nn.Conv3d(2, 4, 3), nn.Flatten(), nn.Linear(7, 2)),
            {},
            "no clip was found",
        ),
        (Plain, dict(accept="planar"), "grades conversions from 2D"),
        (Plain, dict(budget=0.5), "budget is a positive number"),
    ],
)
def test_refuses_what_cannot_be_made_causal(make, options, says):
    with pytest.raises(ConversionError, match=says):
        convert(make().eval(), Dissect(), **options)


@pytest.mark.parametrize(
    "bad", [dict(skip="add"), dict(frames=2), dict(head="fc"), dict(first="last"), dict(window=0)]
)
def test_refuses_settings_that_mean_nothing(bad):
    with pytest.raises(ConversionError, match=f"Dissect: {next(iter(bad))} is"):
        Dissect(**bad)
