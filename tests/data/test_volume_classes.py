import pytest
import torch

from lean3d.data.volume_classes import VolumeClasses, fit_size
from lean3d.errors import DataError


def ramp(*size):
    return torch.arange(float(torch.tensor(size).prod())).view(1, *size)


def test_every_volume_is_a_sample_of_an_epoch_with_its_class():
    volumes = [torch.full((1, 4, 4, 4), float(i)) for i in range(3)]
    samples = VolumeClasses(volumes, [2, 0, 1], (4, 4, 4), 3)
    assert [(x.mean().item(), y.item()) for x, y in samples] == [(0, 2), (1, 0), (2, 1)]


def test_samples_move_mirror_and_turn_by_their_index():
    volume = ramp(6, 6, 6)
    samples = VolumeClasses([volume], [1], (4, 4, 4), 50, seed=3, shift=1, flips=(0, 2), turns=True)
    seen = {tuple(x.flatten().tolist()) for x, _ in samples}
    assert len(seen) > 30
    assert all(x.shape == (1, 4, 4, 4) for x, _ in samples)
    again = VolumeClasses([volume], [1], (4, 4, 4), 50, seed=3, shift=1, flips=(0, 2), turns=True)
    assert torch.equal(samples[7][0], again[7][0])
    still = VolumeClasses([volume], [1], (4, 4, 4), 2)
    assert torch.equal(still[0][0], volume[:, 1:5, 1:5, 1:5])


def test_volumes_come_to_a_size_by_cutting_padding_or_scaling():
    x = ramp(4, 2, 6)
    cut = fit_size(x, (2, 4, 6), resize=False)
    assert torch.equal(cut, x[:, 1:3][:, :, [0, 0, 1, 1]])
    assert fit_size(x, (8, 4, 3), resize=True).shape == (1, 8, 4, 3)
    assert fit_size(x, (4, 2, 6), resize=True) is x


@pytest.mark.parametrize(
    "wrong", [dict(classes=[0]), dict(flips=(3,)), dict(turns=True, size=(4, 4, 3))]
)
def test_what_is_no_set_of_samples_is_refused(wrong):
    given = dict(volumes=[ramp(4, 4, 4)] * 2, classes=[0, 1], size=(4, 4, 4), per_epoch=2)
    with pytest.raises(DataError):
        VolumeClasses(**given | wrong)
