import numpy as np
import pytest
import torch

from lean3d.data.feature_clips import FeatureClips, Variation, read_features, write_features
from lean3d.errors import DataError

PLAIN = Variation(shortest=32, slower=(), erased=0, variance=0)


def counted(videos=6, frames=32, size=2):
    """Features that say their frame, and which video they are of."""
    time = np.arange(1, frames + 1, dtype=np.float32)
    x = np.stack([np.stack([time, np.full(frames, video + 1.0)], 1) for video in range(videos)])
    return x[:, :, :size].astype(np.float32), np.arange(videos)


def pieces(vary, num=400):
    """The frames that samples consist of, zeros in front removed."""
    clips = FeatureClips(*counted(1), num, seed=0, vary=vary)
    for x_FT, _ in clips:
        frames = x_FT[0].numpy()
        yield frames[frames != 0]


def test_what_is_written_is_read_again(tmp_path):
    features, label = torch.randn(5, 7, 3), torch.tensor([4, 0, 1, 2, 3])
    write_features(tmp_path / "f.npy", features, label)
    x_NTF, label_N = read_features(tmp_path / "f.npy")
    assert isinstance(x_NTF.base, np.memmap) or isinstance(x_NTF, np.memmap)
    assert np.array_equal(x_NTF, features.numpy())
    assert label_N.tolist() == label.tolist()


@pytest.mark.parametrize("damage", ["cut", "other", "gone"])
def test_damaged_features_are_one_sentence(tmp_path, damage):
    path = tmp_path / "f.npy"
    write_features(path, torch.randn(5, 7, 3), torch.zeros(5))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "other":
        np.save(path, np.zeros(3))
    else:
        path.unlink()
    with pytest.raises(DataError, match=r"cannot read features from .*f\.npy"):
        read_features(path)


def test_whole_videos_come_in_order_as_they_are():
    x_NTF, label = counted()
    clips = FeatureClips(x_NTF, label, 6)
    for video in range(6):
        x_FT, name = clips[video]
        assert np.array_equal(x_FT.numpy(), x_NTF[video].T)
        assert (int(name), x_FT.dtype) == (video, torch.float32)


def test_seed_and_index_decide_a_sample():
    def sample(seed, index):
        return FeatureClips(*counted(), 6, seed, Variation())[index][0]

    assert torch.equal(sample(1, 3), sample(1, 3))
    assert not torch.equal(sample(1, 3), sample(2, 3))
    # the same video again in the next epoch, varied otherwise
    assert not torch.equal(sample(1, 3), sample(1, 9))


def test_without_variation_a_piece_is_the_video():
    assert all(np.array_equal(piece, np.arange(1, 33)) for piece in pieces(PLAIN, 5))


def test_pieces_have_every_length_and_place_from_the_shortest_on():
    found = list(pieces(Variation(shortest=16, slower=(), erased=0, variance=0)))
    lengths = {len(piece) for piece in found}
    assert lengths == set(range(16, 33))
    assert all((np.diff(piece) == 1).all() for piece in found)
    assert {piece[0] for piece in found if len(piece) == 16} >= {1.0, 17.0}


def test_pieces_are_no_longer_than_the_longest():
    lengths = {len(p) for p in pieces(Variation(8, 12, slower=(), erased=0, variance=0))}
    assert lengths == set(range(8, 13))


def test_videos_are_slowed_as_often_as_asked():
    vary = Variation(shortest=32, erased=0, variance=0)
    steps = [int(np.diff(piece)[0]) for piece in pieces(vary, 2000)]
    shares = [steps.count(step) / len(steps) for step in (1, 2, 3, 4)]
    assert shares == pytest.approx([0.45, 0.30, 0.14, 0.11], abs=0.04)


def test_zeros_stand_in_front_of_a_short_piece():
    clips = FeatureClips(*counted(1), 50, 0, Variation(4, 4, slower=(), erased=0, variance=0))
    for x_FT, _ in clips:
        assert x_FT.shape == (2, 32)
        assert (x_FT[:, :28] == 0).all()
        assert (x_FT[:, 28:] != 0).all()


def test_gaussian_noise_has_its_variance():
    x = np.zeros((1, 32, 50), np.float32)
    clips = FeatureClips(x, np.zeros(1), 20, 0, Variation(32, None, (), 0, 0.005))
    noise = torch.stack([x_FT for x_FT, _ in clips])
    assert float(noise.var()) == pytest.approx(0.005, rel=0.05)
    assert abs(float(noise.mean())) < 0.002


def test_noise_replaces_up_to_a_quarter_never_the_last_in_as_many_samples_as_asked():
    vary = Variation(shortest=32, slower=(), erased=0.5, variance=0)
    replaced = [np.arange(1, 33) != piece for piece in pieces(vary, 600)]
    share = sum(part.any() for part in replaced) / len(replaced)
    assert share == pytest.approx(0.5, abs=0.08)
    assert max(int(part.sum()) for part in replaced) == 8
    assert not any(part[-1] for part in replaced)
    assert all(np.ptp(np.flatnonzero(part)) < 8 for part in replaced if part.any())


def test_the_stored_features_stay_as_they_are():
    x_NTF, label = counted()
    before = x_NTF.copy()
    for _ in FeatureClips(x_NTF, label, 60, 0, Variation()):
        pass
    assert np.array_equal(x_NTF, before)
