import pickle

import pytest
import torch
from torch import nn

from lean3d.data import affinity_targets, read_channels
from lean3d.errors import LeanError
from lean3d.tasks.affinities import Affinities, affinity_loss

LABEL = torch.randint(0, 3, (2, 4, 8, 8), generator=torch.Generator().manual_seed(0))


class Recorded(Affinities):
    """Keeps what would be logged."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.logged = {}

    def log(self, name, value, **kwargs):
        self.logged[name] = value


class Oracle(nn.Module):
    """Logits of the true affinities, of which the image holds the labels."""

    def __init__(self, *words, dims=3):
        super().__init__()
        self.channels, self.dims = read_channels(words), dims

    def forward(self, x):
        target, _ = affinity_targets(x[:, 0].long(), self.channels, dims=self.dims)
        return 40 * target - 20


@pytest.mark.parametrize("loss", ["ce", "dice", "dice_ce"])
@pytest.mark.parametrize("balance", [True, False])
def test_true_affinities_have_no_loss_and_full_dice(loss, balance):
    words = ("z1", "x3", "foreground", "boundary")
    task = Recorded(Oracle(*words), words, loss=loss, balance=balance)
    batch = LABEL[:, None].float(), LABEL
    assert task.training_step(batch, 0) < 1e-4
    task.on_validation_epoch_start()
    task.validation_step(batch, 0)
    task.on_validation_epoch_end()
    assert task.logged["val_dice"] == 1
    assert all(task.logged[f"val_dice_{name}"] == 1 for name in words)


def test_dice_counts_what_is_apart_among_known_voxels():
    class Together(nn.Module):
        def forward(self, x):
            return torch.ones(1, 1, 1, 1, 4)

    class Apart(nn.Module):
        def forward(self, x):
            return -torch.ones(1, 1, 1, 1, 4)

    label = torch.tensor([[[[1, 1, 2, -1]]]])
    for model, expected in ((Together(), 0.0), (Apart(), 2 / 3)):
        task = Recorded(model, ("x1",))
        task.on_validation_epoch_start()
        task.validation_step((label[:, None].float(), label), 0)
        task.on_validation_epoch_end()
        assert task.logged["val_dice"] == pytest.approx(expected)


def test_cross_entropy_is_that_of_the_known_voxels():
    logits, target = torch.randn(1, 2, 3, 3), torch.randint(0, 2, (1, 2, 3, 3)).float()
    mask = torch.ones(1, 2, 3, 3)
    mask[..., 0] = 0
    expected = nn.functional.binary_cross_entropy_with_logits(logits[..., 1:], target[..., 1:])
    torch.testing.assert_close(affinity_loss("ce")(logits, target, mask), expected)
    logits[..., 0] = 99
    torch.testing.assert_close(affinity_loss("ce")(logits, target, mask), expected)
    assert affinity_loss("dice")(logits, target, 0 * mask) == 0


@pytest.mark.parametrize("dims", [2, 3])
def test_learns_affinities_of_blocks(dims):
    torch.manual_seed(0)
    label = torch.ones(1, *[8] * dims, dtype=torch.long)
    label[..., 4:] = 2
    x = label[:, None].float() - 1.5
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    model = nn.Sequential(conv(1, 8, 3, padding=1), nn.ReLU(), conv(8, 1, 1))
    task = Recorded(model, ("x1",), loss="dice_ce", lr=0.05)
    stepper = task.configure_optimizers()
    for index in range(60):
        stepper.zero_grad()
        task.training_step((x, label), index).backward()
        stepper.step()
    task.on_validation_epoch_start()
    task.validation_step((x, label), 0)
    task.on_validation_epoch_end()
    assert task.logged["val_dice"] > 0.9


def test_instances_shrink_before_targets_are_made():
    label = torch.ones(1, 2, 4, 8, dtype=torch.long)
    label[..., 4:] = 2
    seen = []

    class Model(nn.Module):
        def forward(self, x):
            return torch.zeros(1, 1, 2, 4, 8)

    for shrink in (0, 1):
        task = Affinities(Model(), ("x1",), shrink=shrink, sections=True)
        _, _, target, _ = task._step(label[:, None].float(), label)
        seen.append(int((target[..., 1:] == 0).sum()))
    assert seen == [8, 24]


def test_refuses_what_it_cannot_use():
    with pytest.raises(LeanError, match="no affinity loss"):
        Affinities(nn.Identity(), ("x1",), loss="malis")
    with pytest.raises(LeanError, match="channel"):
        Affinities(nn.Identity(), ("q1",))
    with pytest.raises(LeanError, match="expects logits"):
        Affinities(nn.Identity(), ("x1", "y1")).training_step((LABEL[:, None].float(), LABEL), 0)


@pytest.mark.parametrize("loss", ["ce", "dice", "dice_ce"])
def test_a_task_is_pickled_for_processes_that_are_spawned(loss):
    task = Affinities(nn.Conv3d(1, 1, 1), ("x1",), loss=loss)
    logits, target = torch.randn(2, 1, 4, 4, 4), torch.rand(2, 1, 4, 4, 4).round()
    given = logits, target, torch.ones_like(target)
    copy = pickle.loads(pickle.dumps(task))
    assert torch.equal(copy.loss(*given), task.loss(*given))
