"""The vector of a video by its definition, offline, in pieces and frame by frame."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lean3d
from lean3d.errors import LeanError
from lean3d.infer import Embedder, Embedding, fuse


def network():
    torch.manual_seed(0)
    return lean3d.create_model(
        "d_resnet_18", num_classes=5, widths=(2, 3, 4, 6), head="embedding"
    ).eval()


def by_definition(model, clip_BCTHW, skip, normalise):
    vectors = [model.head.fc(f) for f in model.features(clip_BCTHW)[0].T]
    if normalise in ("frames", "both"):
        vectors = [v / v.norm() for v in vectors]
    mean = sum(vectors[skip:]) / len(vectors[skip:])
    return mean / mean.norm() if normalise in ("mean", "both") else mean


@pytest.mark.parametrize(
    ("normalise", "skip"), [("none", 0), ("frames", 4), ("mean", 0), ("both", 4)]
)
@torch.no_grad()
def test_offline_in_pieces_and_live_it_is_the_mean(normalise, skip):
    model, clip_BCTHW = network(), torch.rand(1, 3, 9, 32, 32)
    wanted = by_definition(model, clip_BCTHW, skip, normalise)
    whole = Embedding(model, skip, normalise).eval()
    torch.testing.assert_close(whole(clip_BCTHW)[0], wanted)
    frames_TE = Embedder(model, (3, 32, 32), at_once=4).frames(clip_BCTHW[0].unbind(1))
    torch.testing.assert_close(fuse(frames_TE, skip, normalise), wanted)
    live = lean3d.stream(whole, frame=(3, 32, 32))
    state = live.init()
    for t, frame_BCHW in enumerate(clip_BCTHW.unbind(2), 1):
        found_BE, state = live.step(frame_BCHW, state)
        # at any time what the offline pass over the frames so far gives
        torch.testing.assert_close(found_BE[0], fuse(frames_TE[:t], skip, normalise))


def test_vectors_of_length_one():
    frames_TE = torch.randn(7, 5)
    assert fuse(frames_TE, normalise="both").norm() == pytest.approx(1)
    assert fuse(frames_TE, normalise="mean").norm() == pytest.approx(1)
    assert fuse(frames_TE, normalise="frames").norm() < 1


def test_of_five_frames_the_mean_from_the_fifth_on_is_the_last():
    frames_TE = torch.randn(5, 8)
    assert torch.equal(fuse(frames_TE, skip=4), frames_TE[-1])
    assert torch.equal(fuse(frames_TE[:3], skip=4), frames_TE[2])


class Clips(nn.Module):
    """A network of whole clips: the mean and the last pixel."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x_BCTHW):
        assert x_BCTHW.shape[2] == 4
        return self.scale * torch.stack([x_BCTHW.mean((1, 2, 3, 4)), x_BCTHW[:, 0, -1, 0, 0]], 1)


@pytest.mark.parametrize(
    ("num", "clips"), [(8, [[0, 1, 2, 3], [4, 5, 6, 7]]), (6, [[0, 1, 2, 3], [2, 3, 4, 5]])]
)
def test_another_network_has_a_vector_a_window(num, clips):
    x_CTHW = torch.rand(3, num, 4, 4)
    found_NE = Embedder(Clips().eval(), (3, 4, 4), window=4).frames(x_CTHW.unbind(1))
    wanted = torch.stack([Clips()(x_CTHW[None, :, clip])[0] for clip in clips])
    torch.testing.assert_close(found_NE, wanted.detach())


def test_a_short_video_is_repeated_in_a_window():
    x_CTHW = torch.rand(3, 3, 4, 4)
    found_NE = Embedder(Clips().eval(), (3, 4, 4), window=4).frames(x_CTHW.unbind(1))
    torch.testing.assert_close(found_NE, Clips()(x_CTHW[None, :, [0, 1, 2, 0]]).detach())


def test_a_network_without_an_embedding_head_is_refused():
    with pytest.raises(LeanError, match="d_resnet_18 with head='embedding'"):
        Embedding(nn.Identity())
    with pytest.raises(LeanError, match="normalise is one of"):
        fuse(torch.zeros(1, 2), normalise="l2")
    with pytest.raises(LeanError, match="skip is a number"):
        fuse(torch.zeros(1, 2), skip=-1)
    with pytest.raises(LeanError, match="no vector"):
        Embedder(network(), (3, 32, 32)).frames([])


def test_the_features_themselves():
    model = lean3d.create_model("d_resnet_18", num_classes=6, widths=(2, 3, 4, 6), head="mean")
    clip_BCTHW = torch.rand(1, 3, 5, 32, 32)
    torch.testing.assert_close(model(clip_BCTHW), model.features(clip_BCTHW).mean(2))
    with pytest.raises(LeanError, match="returns its 6 features, so num_classes is 6, got 5"):
        lean3d.create_model("d_resnet_18", num_classes=5, widths=(2, 3, 4, 6), head="mean")


def test_normalising_is_of_the_frames_or_of_the_mean():
    frames_TE = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    assert fuse(frames_TE).tolist() == [1.0, 0.5]
    assert fuse(frames_TE, normalise="frames").tolist() == [0.5, 0.5]
    torch.testing.assert_close(
        fuse(frames_TE, normalise="mean"), F.normalize(torch.tensor([2.0, 1.0]), dim=0)
    )
