"""Every network of the registry over clips streams, or says why not."""

import pytest
import torch
from stream_law import assert_every_step_is_the_clip
from torch import nn

import lean3d
from lean3d.errors import LeanError
from lean3d.models import find_model, list_models
from lean3d.models.d_resnet import FIRSTS, HEADS, SKIPS

CAUSAL = [name for name in list_models("d_*") if find_model(name).input_shape[2] > 1]
WAITING = [
    name
    for name in list_models()
    if len(find_model(name).input_shape) == 5 and name not in CAUSAL and not name.startswith("d_")
]
# squeeze-and-excitation over the whole clip
REFUSED = {
    "x3d_m": "mul in blocks.1.res_blocks.0.branch2.norm_b.1 joins a mean over all time",
}
FEW = [
    "x3d_m",
    "unet3d",
    "d_resnet_18",
    "resnet3d_18",
    "ip_csn_26",
    "hara_resnet_18",
    "r2plus1d_18",
    "p3d_63",
]


def some(names):
    return [pytest.param(n, marks=[] if n in FEW else pytest.mark.slow) for n in names]


def build(name):
    torch.manual_seed(0)
    entry = find_model(name)
    narrow = name in FEW and "widths" in entry.takes
    widths = {"widths": [16] * len(entry.takes["widths"])} if narrow else {}
    model = entry.build(num_classes=7, **widths).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):  # as if it were trained
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
    return model


@pytest.mark.parametrize("name", some(CAUSAL))
def test_a_causal_network_streams_with_starts_and_resets_at_random(name):
    live = lean3d.stream(build(name), check=False)
    assert_every_step_is_the_clip(live, (3, 32, 32))


# every skip with every head; both stems and both borders with each of them
FORMS = [
    dict(skip=skip, head=head, frames=1 + 2 * ((a + b) % 2), first=FIRSTS[(a + b // 2) % 2])
    for a, skip in enumerate(SKIPS)
    for b, head in enumerate(HEADS)
]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form['skip']}-{form['head']}")
@pytest.mark.parametrize("name", CAUSAL)
def test_every_form_of_a_d_resnet_streams_at_full_width(name, form):
    torch.manual_seed(0)
    # untrained, the many layers of the others carry rounding on to recurrent heads
    dtype = torch.float32 if name == "d_resnet_18" else torch.float64
    # a mean of the features has as many outputs
    outputs = {"num_classes": 512} if form["head"] == "mean" else {}
    live = lean3d.stream(find_model(name).build(**form, **outputs).eval().to(dtype), check=False)
    assert_every_step_is_the_clip(live, (3, 32, 32), dtype=dtype)


@pytest.mark.parametrize(
    ("dtype", "within"),
    [(torch.bfloat16, 0.02), pytest.param(torch.float16, 0.004, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("head", ["fc", "lstm"])
def test_half_precision_answers_are_those_of_float32_within_its_rounding(head, dtype, within):
    torch.manual_seed(0)
    model = find_model("d_resnet_18").build(head=head).eval()
    clip = torch.randn(2, 3, 20, 32, 32)
    precise = lean3d.stream(model, check=False)
    expected, size = precise.run(clip), precise.state_bytes(height=32, width=32)
    live = lean3d.stream(model.to(dtype))
    state = live.init(2, height=32, width=32)
    for t, frame in enumerate(clip.to(dtype).unbind(2)):
        answer, state = live.step(frame, state)
        apart = (answer.float() - expected[:, t]).abs().max()
        assert 0 < apart < within * expected.abs().max()
    assert {value.dtype for value in state.values()} == {dtype, torch.int64}
    assert live.state_bytes(height=32, width=32).cache == size.cache / 2


@pytest.mark.parametrize("name", some(n for n in WAITING if n not in REFUSED))
def test_a_conventional_network_streams_by_waiting(name):
    live = lean3d.stream(build(name), wait=True)  # which compares a video, its end included
    assert live.delay > 0


@pytest.mark.parametrize("name", some(REFUSED))
def test_a_network_that_needs_the_whole_clip_inside_is_refused(name):
    with pytest.raises(LeanError, match=REFUSED[name]):
        lean3d.stream(build(name), wait=True)
