from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lean3d.errors import RunError, ShapeError
from lean3d.metrics.outputs import clip_scores
from lean3d.tasks.classification import Classification


class Recorded(Classification):
    """Keeps what it logs."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.logged = {}

    def log(self, name, value, **kwargs):
        self.logged[name] = value


class Echo(nn.Module):
    """The clips are the scores."""

    def forward(self, x):
        return x


def validated(task, *batches):
    task.on_validation_epoch_start()
    for batch in batches:
        task.validation_step(batch, 0)
    task.on_validation_epoch_end()
    return {name: float(value) for name, value in task.logged.items()}


def test_top_1_counts_the_clips_of_all_batches_and_of_each_class():
    scores = F.one_hot(torch.tensor([0, 1, 1, 2]), 4).float()
    batches = (scores[:3], torch.tensor([0, 1, 0])), (scores[3:], torch.tensor([2]))
    logged = validated(Recorded(Echo(), 4, class_names="abcd"), *batches)
    assert logged["val_top1"] == pytest.approx(3 / 4)
    assert logged["val_top1_a"] == pytest.approx(1 / 2)
    assert logged["val_top1_c"] == 1
    assert logged["val_top1_d"] != logged["val_top1_d"]


def test_top_5_asks_whether_the_class_is_among_the_five_best():
    scores = torch.arange(7.0).expand(2, 7)
    logged = validated(Recorded(Echo(), 7), (scores, torch.tensor([2, 1])))
    assert (logged["val_top1"], logged["val_top5"]) == (0, 0.5)


def test_an_epoch_counts_its_own_clips_only():
    task = Recorded(Echo(), 3)
    right, wrong = torch.eye(3)[:1], torch.eye(3)[1:2]
    assert validated(task, (wrong, torch.tensor([0])))["val_top1"] == 0
    assert validated(task, (right, torch.tensor([0])))["val_top1"] == 1


def test_the_loss_is_cross_entropy():
    x, label = torch.randn(5, 3), torch.tensor([0, 1, 2, 2, 1])
    assert Recorded(Echo(), 3).training_step((x, label), 0) == F.cross_entropy(x, label)


@pytest.mark.parametrize("scoring", ["last", "every"])
def test_frames_are_scored_by_the_last_or_by_all(scoring):
    x_BTK, label = torch.randn(4, 6, 3), torch.tensor([0, 1, 2, 1])
    task = Recorded(Echo(), 3, scoring=scoring)
    frames = [F.cross_entropy(frame, label) for frame in x_BTK.unbind(1)]
    expected = frames[-1] if scoring == "last" else torch.stack(frames).mean()
    torch.testing.assert_close(task.training_step((x_BTK, label), 0), expected)
    mean = x_BTK.softmax(-1).mean(1).argmax(1)
    chosen = x_BTK[:, -1].argmax(1) if scoring == "last" else mean
    assert torch.equal(clip_scores(x_BTK, scoring).argmax(1), chosen)
    right = float((chosen == label).float().mean())
    assert validated(task, (x_BTK, label))["val_top1"] == pytest.approx(right)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_learns_which_half_is_bright(optimizer):
    torch.manual_seed(0)
    x = torch.randn(16, 1, 2, 4, 4)
    label = (x[:, 0, 0].mean((1, 2)) > x[:, 0, 1].mean((1, 2))).long()
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 2))
    task = Recorded(model, 2, optimizer=optimizer, lr=0.05)
    stepper = task.configure_optimizers()
    losses = []
    for _ in range(30):
        stepper.zero_grad()
        losses.append(task.training_step((x, label), 0))
        losses[-1].backward()
        stepper.step()
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 1), (3, 4), (2, 3, 4, 4)])
def test_refuses_scores_of_another_shape(shape):
    task = Recorded(Echo(), 4)
    with pytest.raises(ShapeError, match="K = 4 classes"):
        task.training_step((torch.zeros(shape), torch.tensor([0, 1])), 0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(num_classes=1), "num_classes >= 2"),
        (dict(num_classes=3, class_names=["a", "a", "b"]), "3 different class names"),
        (dict(num_classes=2, scoring="first"), "no scoring called 'first'"),
        (dict(num_classes=2, optimizer="lion"), "lion"),
    ],
)
def test_refuses_what_it_cannot_use(bad, message):
    with pytest.raises(RunError, match=message):
        Classification(Echo(), **bad)


def test_the_rate_rises_to_its_schedule_within_the_warmup():
    task = Classification(nn.Linear(2, 2), 2, lr=0.1, schedule="cosine", warmup=4)
    trainer = SimpleNamespace(max_epochs=10, current_epoch=0, global_step=0)
    task.trainer = trainer
    trainer.optimizers, _ = task.configure_optimizers()
    rates = []
    for trainer.global_step in range(6):
        task.on_train_batch_start(None, 0)
        rates.append(trainer.optimizers[0].param_groups[0]["lr"])
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])


def test_without_a_warmup_the_rate_is_left_alone():
    task = Classification(nn.Linear(2, 2), 2, lr=0.1)
    task.trainer = SimpleNamespace(max_epochs=10, current_epoch=0, global_step=0, optimizers=[])
    task.on_train_batch_start(None, 0)
