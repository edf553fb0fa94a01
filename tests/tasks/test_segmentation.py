import math
import pickle
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lean3d.data import Regions
from lean3d.errors import RunError, ShapeError
from lean3d.tasks.segmentation import Segmentation


class Recorded(Segmentation):
    """Keeps what would be logged."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.logged = {}

    def log(self, name, value, **kwargs):
        self.logged[name] = value


def labels(*values):
    return torch.tensor(values).view(1, 1, 1, -1)


class Echo(nn.Module):
    """Logits that put all belief in the class the image names."""

    def forward(self, x_BCDHW):
        return 99 * nn.functional.one_hot(x_BCDHW[:, 0].long(), 4).movedim(-1, 1).float()


def validated(*batches, **kwargs):
    task = Recorded(Echo(), 4, **kwargs)
    task.on_validation_epoch_start()
    for index, (said, true) in enumerate(batches):
        task.validation_step((said.unsqueeze(1).float(), true), index)
    task.on_validation_epoch_end()
    return task.logged


def test_dice_counts_the_voxels_of_the_whole_epoch():
    first = labels(1, 1, 1, 2), labels(1, 1, 2, 2)
    second = labels(0, 1, 0, 0), labels(0, 0, 0, 1)
    logged = validated(first, second, class_names=["air", "csf", "grey", "white"])
    assert logged["val_dice_csf"] == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))
    assert logged["val_dice_grey"] == pytest.approx(2 / 3)


def test_an_absent_class_is_no_part_of_the_mean_and_neither_is_the_background():
    logged = validated((labels(0, 0, 1, 1), labels(0, 0, 1, 0)))
    assert torch.isnan(logged["val_dice_2"])
    assert logged["val_dice"] == logged["val_dice_1"] == pytest.approx(2 / 3)


def test_an_epoch_counts_its_own_voxels_only():
    task = Recorded(Echo(), 4)
    for said in labels(1, 1, 0), labels(0, 0, 1):
        task.on_validation_epoch_start()
        task.validation_step((said.unsqueeze(1).float(), labels(0, 0, 1)), 0)
        task.on_validation_epoch_end()
    assert task.logged["val_dice"] == 1


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("loss", ["ce", "dice", "dice_ce"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_learns_a_threshold(loss, optimizer, dims):
    torch.manual_seed(0)
    x = torch.randn(2, 1, *[8] * dims)
    conv = (nn.Conv2d if dims == 2 else nn.Conv3d)(1, 3, 1)
    task = Recorded(conv, 3, loss=loss, optimizer=optimizer, lr=0.1)
    stepper = task.configure_optimizers()
    losses = []
    for index in range(20):
        stepper.zero_grad()
        losses.append(task.training_step((x, (x[:, 0] > 0).long()), index))
        losses[-1].backward()
        stepper.step()
    assert losses[-1] < 0.8 * losses[0]
    assert task.logged["train_loss"] is losses[-1]


def test_the_sum_of_the_losses_is_their_sum():
    x, label = torch.randn(2, 3, 4, 4, 4), torch.randint(0, 3, (2, 4, 4, 4))
    ce, dice, both = (
        Segmentation(nn.Identity(), 3, loss=n).loss for n in ("ce", "dice", "dice_ce")
    )
    torch.testing.assert_close(both(x, label), ce(x, label) + dice(x, label))


def test_the_background_can_be_left_out_of_the_dice_loss():
    x, label = torch.randn(2, 3, 4, 4, 4), torch.randint(0, 3, (2, 4, 4, 4))
    with_it, without = (
        Segmentation(nn.Identity(), 3, loss="dice", background=b).loss(x, label)
        for b in (True, False)
    )
    assert with_it != without


def test_weighted_losses_are_those_of_torch_and_monai():
    losses = pytest.importorskip("monai.losses")
    x, label = torch.randn(2, 3, 4, 4, 4), torch.randint(0, 3, (2, 4, 4, 4))
    weights = torch.tensor([0.5, 1.0, 4.0])
    kinds = ("ce", True), ("dice", True), ("dice", False)
    ce, dice, foreground = (
        Segmentation(nn.Identity(), 3, loss=name, background=bg, weights=weights.tolist()).loss(
            x, label
        )
        for name, bg in kinds
    )
    torch.testing.assert_close(ce, nn.functional.cross_entropy(x, label, weights))
    settings = dict(softmax=True, to_onehot_y=True, batch=True)
    for own, include in ((dice, True), (foreground, False)):
        kept = weights if include else weights[1:]
        theirs = losses.DiceLoss(weight=kept, include_background=include, **settings)
        # the mean of theirs is not over the sum of the weights
        expected = theirs(x, label[:, None]) * len(kept) / kept.sum()
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=0)


def test_optimizers_take_their_settings_and_leave_frozen_weights_out():
    model = nn.Conv3d(1, 2, 3)
    model.bias.requires_grad_(False)
    settings = dict(optimizer="sgd", lr=0.5, momentum=0.3, weight_decay=0.1)
    group = Segmentation(model, 2, **settings).configure_optimizers().param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.5, 0.3, 0.1)
    assert group["params"] == [model.weight]


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [1, 1, 1, 1]),
        ("cosine", [1, 0.8536, 0.5, 0.1464]),
        ("steps", [1, 1, 0.1, 0.01]),
    ],
)
def test_the_learning_rate_follows_its_schedule_to_the_last_epoch(schedule, shares):
    task = Segmentation(nn.Conv3d(1, 2, 3), 2, lr=0.1, schedule=schedule)
    task.trainer = SimpleNamespace(max_epochs=4)
    made = task.configure_optimizers()
    optimizer, follows = (made, []) if schedule == "constant" else (made[0][0], made[1])
    seen = []
    for _ in shares:
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in follows:
            scheduler.step()
    assert seen == pytest.approx([0.1 * share for share in shares], rel=1e-3)


def test_a_plateau_of_the_validation_loss_divides_the_rate_by_ten_three_times_at_most():
    task = Segmentation(nn.Conv3d(1, 2, 3), 2, lr=0.1, schedule="plateau")
    (optimizer,), (follows,) = task.configure_optimizers()
    assert follows["monitor"] == "val_loss"
    rates = []
    for _ in range(20):
        follows["scheduler"].step(1.0)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:3] == [0.1] * 3
    assert rates[4:8] == pytest.approx([1e-2] * 4)
    assert rates[-1] == pytest.approx(1e-4)


def test_channels_last_changes_the_layout_of_2d_and_3d_kernels_but_no_number():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.flat = nn.Parameter(torch.randn(4, 4, 3, 3))
            self.deep = nn.Conv3d(4, 4, 3, padding=1)

        def forward(self, x_BCDHW):
            y = nn.functional.conv3d(x_BCDHW, self.flat.unsqueeze(2), padding=(0, 1, 1))
            return self.deep(y)

    x = torch.randn(1, 4, 5, 6, 7)
    model = Mixed()
    before = model(x)
    task = Segmentation(model, 4, channels_last=True)
    assert model.flat.is_contiguous(memory_format=torch.channels_last)
    assert model.deep.weight.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(task(x), before)


def test_refuses_a_model_that_changes_the_size():
    task = Segmentation(nn.Conv3d(1, 3, 3), 3)
    batch = torch.randn(1, 1, 5, 5, 5), torch.zeros(1, 5, 5, 5, dtype=torch.long)
    with pytest.raises(ShapeError, match=r"\(1, 3, 5, 5, 5\).*got \(1, 3, 3, 3, 3\)"):
        task.training_step(batch, 0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(num_classes=1), "num_classes >= 2"),
        (dict(num_classes=3, class_names=["a", "b"]), "3 different class names"),
        (dict(num_classes=2, loss="focal"), "focal"),
        (dict(num_classes=2, weights=[1.0]), "2 numbers above 0"),
        (dict(num_classes=2, weights=[1.0, 0.0]), "2 numbers above 0"),
        (dict(num_classes=2, optimizer="lion"), "lion"),
        (
            dict(num_classes=2, schedule="linear"),
            "linear.*constant, cosine, cosine_step, poly, steps and plateau",
        ),
    ],
)
def test_refuses_what_it_cannot_use(bad, message):
    with pytest.raises(RunError, match=message):
        Segmentation(nn.Identity(), **bad)


def nested(**settings):
    """The first output is class 1 or 2, the second class 2."""
    regions = Regions.read(("all=1,2", "core=2"), 3)
    return Recorded(nn.Identity(), 3, regions=regions, **settings)


@pytest.mark.parametrize("loss", ["dice", "ce", "dice_ce"])
def test_regions_are_learnt_with_a_sigmoid_each(loss):
    label = torch.tensor([[[0, 1, 2, 2]]])
    right = torch.tensor([[-1.0, 1, 1, 1], [-1, -1, 1, 1]]).view(1, 2, 1, 4)
    task = nested(loss=loss)
    weak, strong, wrong = (task.loss(factor * right, label) for factor in (1, 30, -30))
    assert strong < weak < wrong
    assert strong == pytest.approx(0, abs=1e-3)
    if loss == "ce":
        assert weak.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_dice_of_regions():
    task = nested()
    task.on_validation_epoch_start()
    logits = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1]]).view(1, 2, 1, 4)
    task.validation_step((logits, torch.tensor([[[0, 1, 2, 2]]])), 0)
    task.on_validation_epoch_end()
    assert task.logged["val_dice_all"] == pytest.approx(2 * 2 / (3 + 3))
    assert task.logged["val_dice_core"] == pytest.approx(2 * 1 / (2 + 2))
    assert task.logged["val_dice"] == pytest.approx((4 / 6 + 0.5) / 2)


def test_whole_cases_of_any_size_have_a_score_each():
    def whole(model, image):
        assert image.ndim == 4
        return nn.functional.one_hot(image[0].long(), 3).movedim(-1, 0).float()

    task = Recorded(nn.Identity(), 3, whole=whole)
    task.on_validation_epoch_start()
    cases = (labels(1, 1, 1, 2), labels(1, 1, 2, 2)), (labels(0, 1), labels(0, 0))
    for index, (said, true) in enumerate(cases):
        task.validation_step((said.unsqueeze(1).float(), true), index)
    task.on_validation_epoch_end()
    # class 1: 4/5 in the first case, 0 in the second; class 2 is in the first alone
    assert task.logged["val_dice_1"] == pytest.approx((4 / 5 + 0) / 2)
    assert task.logged["val_dice_2"] == pytest.approx(2 / 3)
    assert task.logged["val_dice"] == pytest.approx(((4 / 5 + 2 / 3) / 2 + 0) / 2)


@pytest.mark.parametrize("loss", ["ce", "dice"])
def test_a_region_can_weigh_more(loss):
    x, label = torch.randn(2, 2, 4, 4, 4), torch.randint(0, 3, (2, 4, 4, 4))
    alike, first, second = (
        nested(loss=loss, weights=weights).loss(x, label)
        for weights in (None, [1.0, 1e-9], [1e-9, 1.0])
    )
    torch.testing.assert_close(alike, (first + second) / 2)
    torch.testing.assert_close(
        nested(loss=loss, weights=[1.0, 3.0]).loss(x, label), (first + 3 * second) / 4
    )


@pytest.mark.parametrize("loss", ["dice", "ce", "dice_ce"])
@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 3.0)])
@pytest.mark.parametrize("regions", [None, Regions.read(["a=1,2,3", "b=2,3", "c=3"], 4)])
def test_a_task_and_its_loss_are_pickled_for_processes_that_are_spawned(loss, weights, regions):
    torch.manual_seed(0)
    classes = 3 if regions is None else 4
    task = Segmentation(nn.Conv3d(1, 3, 1), classes, loss=loss, weights=weights, regions=regions)
    copy = pickle.loads(pickle.dumps(task))
    logits, label = torch.randn(2, 3, 4, 4, 4), torch.randint(classes, (2, 4, 4, 4))
    assert torch.equal(copy.loss(logits, label), task.loss(logits, label))
