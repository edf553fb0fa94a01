import pytest
import torch

import lean3d
from lean3d.errors import LeanError
from lean3d.models import create_model

NARROW = dict(widths=(8, 8, 16, 16), num_classes=5, window=4, hidden=12)
FORMS = {
    "concat": {},
    "sum": dict(skip="sum"),
    "none": dict(skip="none"),
    "one_frame": dict(frames=1),
    "zeros": dict(first="zeros"),
    "lstm": dict(head="lstm", layers=3),
    "gru": dict(head="gru", layers=1),
    "features": dict(head="none"),
    "channel_separated": dict(conv=lean3d.ops.ChannelSeparatedConv3d),
}


def build(depth=18, **options):
    torch.manual_seed(0)
    model = create_model(f"d_resnet_{depth}", **{**NARROW, **options}).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):  # as if it were trained
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
    return model


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_streams_with_the_answers_of_the_clip(form, depth):
    live = lean3d.stream(build(depth, **FORMS[form]), check=False)
    clip = torch.randn(2, 3, 6, 32, 40)
    state, whole = live.init(2), live.run(clip)
    # untrained, 16 blocks add up to a thousand
    allowed = 1e-5 * max(1.0, float(whole.abs().max()))
    for t, frame in enumerate(clip.unbind(2)):
        answer, state = live.step(frame, state)
        torch.testing.assert_close(answer, whole[:, t], atol=allowed, rtol=0)


def test_without_a_skip_only_the_stem_and_the_head_remember():
    live = lean3d.stream(build(skip="none"), check=False)
    assert list(live.init(height=32, width=32)) == ["t", "stem.0.past", "head.past"]


@pytest.mark.parametrize(("skip", "frames"), [("concat", 11), ("sum", 11), ("none", 3)])
def test_each_skip_lets_a_frame_reach_one_block_further_back(skip, frames):
    live = lean3d.stream(build(skip=skip, head="none"), check=False)
    assert live.receptive_field == frames


def test_a_blank_past_stands_before_the_first_frame_or_copies_of_it():
    still = torch.randn(1, 3, 1, 32, 32).expand(-1, -1, 12, -1, -1)
    copies, zeros = (
        lean3d.stream(build(head="none", first=first), check=False).run(still)
        for first in ("replicate", "zeros")
    )
    torch.testing.assert_close(copies[:, 0], copies[:, -1])
    assert not torch.allclose(zeros[:, 0], zeros[:, -1])
    torch.testing.assert_close(zeros[:, -1], copies[:, -1])


def test_summation_is_not_ignored():
    clip = torch.randn(1, 3, 4, 32, 32)
    added, none = build(skip="sum"), build(skip="none")
    weights = {key.replace(".0.1.weight", ".0.weight"): w for key, w in added.state_dict().items()}
    none.load_state_dict(weights)
    assert not torch.allclose(none(clip), added(clip))


@pytest.mark.parametrize(
    "wrong", [dict(skip="max"), dict(frames=2), dict(head="rnn"), dict(first=0)]
)
def test_an_unknown_form_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"d_resnet_18: {name} is one of"):
        build(**wrong)


def test_the_fc_head_is_stacked_and_streams():
    model = build(layers=2, hidden=6, window=4)
    assert len(model.head.fc) == 4
    live = lean3d.stream(model)
    clip = torch.randn(1, 3, 6, 16, 16)
    state = live.init()
    for t in range(6):
        answer, state = live.step(clip[:, :, t], state)
    torch.testing.assert_close(answer, model(clip))
    with pytest.raises(LeanError, match="layers is 1 or more, of the heads fc, lstm and gru"):
        build(head="none", layers=2)


def test_a_conventional_network_is_refused_for_what_looks_ahead():
    model = create_model("hara_resnet_18", widths=(8, 8, 16, 16), num_classes=5).eval()
    with pytest.raises(LeanError, match=r"stem.0 \(Conv3d\) looks ahead"):
        lean3d.stream(model)
