import pytest
import torch
from torch import nn

from lean3d.errors import RunError, ShapeError
from lean3d.infer import predict_labels, predict_volume


def a_model(channels=1, classes=5):
    torch.manual_seed(classes)
    return nn.Sequential(
        nn.Conv3d(channels, 4, 3, padding=1), nn.Tanh(), nn.Conv3d(4, classes, 3, padding=1)
    )


SIZES = [(20, 18, 22), (8, 8, 8), (9, 30, 8), (3, 5, 25), (2, 3, 4)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("room", [1, 40_000, 1 << 30])
def test_classes_are_those_of_the_whole_probabilities(size, room):
    x_CDHW = torch.randn(1, *size)
    settings = dict(overlap=0.5, batch_size=3)
    whole = predict_volume(a_model(), x_CDHW, (8, 6, 8), **settings)
    label_DHW = predict_labels(a_model(), x_CDHW, (8, 6, 8), room=room, **settings)
    assert label_DHW.dtype == torch.uint8
    # sums in another order may differ where two classes are equal
    best = whole.topk(2, dim=0).values
    clear = best[0] - best[1] > 1e-5
    assert clear.float().mean() > 0.99
    assert (label_DHW == whole.argmax(0))[clear].all()


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
def test_any_overlap_is_blended_the_same_way(overlap):
    x_CDHW = torch.randn(2, 13, 17, 11)
    whole = predict_volume(a_model(2), x_CDHW, (5, 6, 7), overlap=overlap)
    label_DHW = predict_labels(a_model(2), x_CDHW, (5, 6, 7), overlap=overlap, room=9000)
    assert (label_DHW == whole.argmax(0)).float().mean() > 0.999


def test_several_models_are_averaged_each_on_its_own_volume():
    x, models = torch.randn(1, 9, 10, 11), [a_model(), a_model().requires_grad_(False)]
    models[1][2].bias.add_(torch.linspace(-2, 2, 5))
    each = [predict_volume(m, i, (6, 6, 6)) for m, i in zip(models, (x, 2 * x), strict=True)]
    label_DHW = predict_labels(models, [x, 2 * x], (6, 6, 6))
    assert (label_DHW == sum(each).argmax(0)).float().mean() > 0.999
    assert (label_DHW != each[0].argmax(0)).any()


def test_memory_holds_one_part_of_the_probabilities(monkeypatch):
    held = []
    zeros = torch.zeros

    def watched(*size, **settings):
        made = zeros(*size, **settings)
        held.append(made.numel() * made.element_size())
        return made

    monkeypatch.setattr("torch.zeros", watched)
    # 40 classes: 6.5 MB of probabilities for a window's depth of the plane
    predict_labels(nn.Conv3d(1, 40, 1), torch.randn(1, 16, 64, 64), (8, 8, 8), room=300_000)
    assert max(held) <= 300_000


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_little_memory_computes_few_windows_twice(overlap):
    class Counted(nn.Conv3d):
        windows = 0

        def forward(self, x):
            Counted.windows += len(x)
            return super().forward(x)

    def windows(room):
        Counted.windows = 0
        settings = dict(overlap=overlap, room=room, batch_size=4)
        predict_labels(Counted(1, 40, 1), torch.zeros(1, 16, 96, 96), (8, 8, 8), **settings)
        # one tells how many classes there are
        return Counted.windows - 1

    step = int(8 * (1 - overlap))
    along = [(side - 8) // step + 1 for side in (16, 96, 96)]
    assert windows(1 << 30) == along[0] * along[1] * along[2]
    # room for a ninth of the plane
    twice = windows(4 * 40 * 8 * 32 * 32) / windows(1 << 30)
    assert twice == 1 if overlap == 0 else 1 < twice < 1.25


def test_progress_goes_to_one():
    seen = []
    predict_labels(a_model(), torch.randn(1, 8, 30, 30), (8, 8, 8), room=9000, progress=seen.append)
    assert seen == sorted(seen)
    assert len(seen) > 3
    assert seen[-1] == 1


def test_models_keep_their_modes():
    model = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Dropout(0.5)).train()
    x_CDHW = torch.randn(1, 4, 4, 4)
    assert torch.equal(*(predict_labels(model, x_CDHW, (4, 4, 4)) for _ in range(2)))
    assert model[1].training


def test_refuses_what_does_not_fit():
    x_CDHW = torch.randn(1, 4, 4, 4)
    with pytest.raises(ShapeError, match="2 models and volumes of"):
        predict_labels([a_model(), a_model()], [x_CDHW, x_CDHW[:, 1:]], (4, 4, 4))
    for bad in (dict(overlap=1.0), dict(batch_size=0)):
        with pytest.raises(RunError):
            predict_labels(a_model(), x_CDHW, (4, 4, 4), **bad)
    with pytest.raises(RunError, match="got 300 classes"):
        predict_labels(nn.Conv3d(1, 300, 1), x_CDHW, (4, 4, 4))


def test_mirrored_windows_choose_as_the_whole_probabilities():
    x_CDHW = torch.randn(1, 9, 10, 11)
    plain, mirrored = (
        predict_volume(a_model(), x_CDHW, (6, 6, 6), mirror=axes) for axes in ((), (0, 2))
    )
    label_DHW = predict_labels(a_model(), x_CDHW, (6, 6, 6), room=9000, mirror=(0, 2))
    assert (label_DHW == mirrored.argmax(0)).float().mean() > 0.999
    assert (label_DHW != plain.argmax(0)).any()
    with pytest.raises(RunError, match="axes among 0, 1 and 2"):
        predict_labels(a_model(), x_CDHW, (6, 6, 6), mirror=(4,))
