import pytest
import torch
from torch import nn

from lean3d.errors import RunError
from lean3d.models import create_model
from lean3d.tasks.recurrence import Recurrence

SMALL = dict(widths=(4, 4, 4, 4), num_classes=3, head="gru", layers=1, hidden=8)


def task():
    torch.manual_seed(0)
    return Recurrence(create_model("d_resnet_18", **SMALL), 3, lr=0.05)


def test_only_the_head_learns():
    recurrence = task()
    learnt = {id(p) for p in recurrence.configure_optimizers().param_groups[0]["params"]}
    assert learnt == {id(p) for p in recurrence.model.head.parameters()}


def test_features_of_clips_give_the_answers_of_the_model():
    recurrence = task().eval()
    clip = torch.randn(2, 3, 6, 32, 32)
    with torch.no_grad():
        features = recurrence.model.features(clip)
        torch.testing.assert_close(recurrence(features), recurrence.model(clip))


def test_weights_are_stored_once_under_the_models_names():
    names = set(task().state_dict())
    assert {n for n in names if n.startswith("model.")} == {
        f"model.{n}" for n in create_model("d_resnet_18", **SMALL).state_dict()
    }
    assert not any(name.startswith("head") for name in names)


def test_learns_which_end_is_large():
    recurrence = task()
    recurrence.log = lambda *args, **kwargs: None
    x = torch.zeros(32, 4, 5)
    label = torch.arange(32) % 2
    x[label == 0, :, 0] = 2
    x[label == 1, :, -1] = 2
    stepper = recurrence.configure_optimizers()
    losses = []
    for _ in range(30):
        stepper.zero_grad()
        losses.append(recurrence.training_step((x, label), 0))
        losses[-1].backward()
        stepper.step()
    assert losses[-1] < 0.1 * losses[0]


def test_a_model_without_parts_is_refused():
    with pytest.raises(RunError, match="Flatten does not part into features of frames and a head"):
        Recurrence(nn.Flatten(), 3)
