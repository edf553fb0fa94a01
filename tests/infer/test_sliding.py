import pytest
import torch
from torch import nn

from lean3d.errors import RunError, ShapeError
from lean3d.infer import predict_labels, predict_slices, predict_volume


class Seen(nn.Module):
    """A model that remembers the shapes it was given."""

    def __init__(self, model):
        super().__init__()
        self.model, self.shapes = model, []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        return self.model(x)


def softmaxed(model, x):
    with torch.no_grad():
        return model(x).softmax(1)


@pytest.mark.parametrize("size", [(4, 4, 4), (9, 5, 7), (3, 8, 2)])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_a_model_without_neighbourhood_gives_what_it_gives_on_the_whole(size, overlap):
    model = nn.Conv3d(2, 3, 1)
    x_CDHW = torch.randn(2, *size)
    y_KDHW = predict_volume(model, x_CDHW, (4, 4, 4), overlap=overlap)
    torch.testing.assert_close(y_KDHW, softmaxed(model, x_CDHW[None])[0])


def test_never_holds_more_windows_than_asked_for():
    model = Seen(nn.Conv3d(1, 2, 3, padding=1))
    predict_volume(model, torch.randn(1, 9, 10, 11), (4, 5, 6), batch_size=3)
    assert max(shape[0] for shape in model.shapes) == 3
    assert {shape[1:] for shape in model.shapes} == {(1, 4, 5, 6)}


def test_a_voxel_counts_most_where_it_lies_in_the_middle_of_a_window():
    class FirstPlane(nn.Module):
        """Says class 1 in the first plane of a window, class 0 elsewhere."""

        def forward(self, x_BCDHW):
            logits = torch.zeros(len(x_BCDHW), 2, *x_BCDHW.shape[2:])
            logits[:, 0] = 50
            logits[:, 1, 0] = 100
            return logits

    y_KDHW = predict_volume(FirstPlane(), torch.zeros(1, 6, 4, 4), (4, 4, 4), overlap=0.5)
    assert y_KDHW[1, 0, 2, 2] == pytest.approx(1)
    # the second window begins here, but the first one has this voxel nearer to its middle
    assert 0 < y_KDHW[1, 2, 2, 2] < 0.05


def test_small_volumes_are_padded_with_their_edge():
    model = nn.Conv3d(1, 2, 3, padding=1)
    y_KDHW = predict_volume(model, torch.ones(1, 1, 1, 1), (5, 5, 5))
    inside = softmaxed(model, torch.ones(1, 1, 5, 5, 5))[0, :, 2:3, 2:3, 2:3]
    torch.testing.assert_close(y_KDHW, inside)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_predicted_one_by_one(axis):
    model = nn.Conv2d(1, 3, 3, padding=1)
    x_CDHW = torch.randn(1, 5, 5, 5)
    y_KDHW = predict_slices(model, x_CDHW, (5, 5), axes=(axis,))
    for place, slice_CHW in enumerate(x_CDHW.unbind(1 + axis)):
        expected = softmaxed(model, slice_CHW[None])[0]
        torch.testing.assert_close(y_KDHW.select(1 + axis, place), expected)


def test_views_are_averaged():
    model = nn.Conv2d(1, 3, 3, padding=1)
    x_CDHW = torch.randn(1, 4, 5, 6)
    views = [predict_slices(model, x_CDHW, (4, 4), axes=(axis,)) for axis in range(3)]
    together = predict_slices(model, x_CDHW, (4, 4), axes=(0, 1, 2))
    torch.testing.assert_close(together, sum(views) / 3)


def test_the_model_keeps_its_modes():
    model = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2).eval(), nn.Dropout(0.5))
    x_CDHW = torch.randn(1, 4, 4, 4)
    first, second = (predict_volume(model, x_CDHW, (4, 4, 4)) for _ in range(2))
    torch.testing.assert_close(first, second)
    assert [module.training for module in model] == [True, False, True]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("volume", [torch.float32, torch.uint8])
def test_windows_have_the_precision_of_the_weights(dtype, volume):
    model, x_CDHW = nn.Conv3d(1, 2, 1), (9 * torch.rand(1, 5, 6, 7)).to(volume)
    wanted = softmaxed(model, x_CDHW[None].float())[0]
    found = predict_volume(model.to(dtype), x_CDHW, (4, 4, 4))
    torch.testing.assert_close(found, wanted, atol=0.05, rtol=0.05)
    assert found.dtype == torch.float32
    labels = predict_labels(model, x_CDHW, (4, 4, 4))
    assert (labels == found.argmax(0)).float().mean() > 0.9


def test_refuses_a_model_of_several_outputs_and_names_itself():
    class Two(nn.Module):
        def forward(self, x):
            return [x, x]

    with pytest.raises(RunError, match="Two returns list; wrap it"):
        predict_volume(Two(), torch.randn(1, 4, 4, 4), (4, 4, 4))
    with pytest.raises(ShapeError, match=r"predict_volume takes \(C, D, H, W\)"):
        predict_volume(Two(), torch.randn(1, 1, 4, 4, 4), (4, 4, 4))


@pytest.mark.parametrize(
    "bad", [dict(window=(4, 4)), dict(overlap=1.0), dict(window=(4, 0, 4)), dict(batch_size=0)]
)
def test_refuses_windows_it_cannot_lay(bad):
    with pytest.raises(RunError):
        predict_volume(nn.Conv3d(1, 2, 1), torch.zeros(1, 5, 5, 5), **dict(window=(4, 4, 4)) | bad)


def test_refuses_an_image_without_channels():
    with pytest.raises(ShapeError):
        predict_volume(nn.Conv3d(1, 2, 1), torch.zeros(5, 5, 5), (4, 4, 4))


def test_refuses_axes_that_are_not_there():
    with pytest.raises(RunError, match="axes among"):
        predict_slices(nn.Conv2d(1, 2, 1), torch.zeros(1, 5, 5, 5), (4, 4), axes=(3,))


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("sigmoid", torch.sigmoid), ("none", lambda x: x), ("softmax", lambda x: x.softmax(1))],
)
def test_the_activation_is_chosen(activation, expected):
    x_CDHW = torch.randn(1, 6, 6, 6)
    model, flat = nn.Conv3d(1, 3, 1), nn.Conv2d(1, 3, 1)
    with torch.no_grad():
        wanted, of_slices = expected(model(x_CDHW[None]))[0], expected(flat(x_CDHW.movedim(1, 0)))
    found = predict_volume(model, x_CDHW, (4, 4, 4), activation=activation)
    torch.testing.assert_close(found, wanted)
    found = predict_slices(flat, x_CDHW, (4, 4), activation=activation)
    torch.testing.assert_close(found, of_slices.movedim(0, 1))


def test_an_unknown_activation_is_refused():
    with pytest.raises(RunError, match="there are softmax, sigmoid, none"):
        predict_volume(nn.Conv3d(1, 2, 1), torch.randn(1, 4, 4, 4), (4, 4, 4), activation="relu")


def test_mirrored_windows_are_averaged_in_place():
    model, x_CDHW = nn.Conv3d(1, 2, 3, padding=1), torch.randn(1, 5, 5, 5)
    found = predict_volume(model, x_CDHW, (5, 5, 5), mirror=(0, 2))
    flips = [(), (2,), (4,), (2, 4)]
    expected = sum(softmaxed(model, x_CDHW[None].flip(axes)).flip(axes) for axes in flips) / 4
    torch.testing.assert_close(found, expected[0])
    with pytest.raises(RunError, match="axes among 0, 1 and 2"):
        predict_volume(model, x_CDHW, (5, 5, 5), mirror=(3,))


def test_mirrored_slices_are_averaged_along_the_axes_of_the_volume():
    model, x_CDHW = nn.Conv2d(1, 2, 3, padding=1), torch.randn(1, 5, 5, 5)
    mirrors = [(), (1,), (2,), (1, 2)]
    for axis, expected in ((0, mirrors), (1, [(), (2,)])):
        # across height, slices have no height to mirror
        found = predict_slices(model, x_CDHW, (5, 5), axes=(axis,), mirror=(1, 2))
        by_hand = [
            predict_slices(model, x_CDHW.flip([1 + m for m in some]), (5, 5), axes=(axis,)).flip(
                [1 + m for m in some]
            )
            for some in expected
        ]
        torch.testing.assert_close(found, sum(by_hand) / len(by_hand))
        assert not torch.allclose(found, by_hand[0])
    with pytest.raises(RunError, match="axes among 0, 1 and 2"):
        predict_slices(model, x_CDHW, (5, 5), mirror=(3,))
