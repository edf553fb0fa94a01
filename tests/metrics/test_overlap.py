import pytest
import torch
from torchmetrics.functional.segmentation import dice_score
from torchmetrics.functional.segmentation import mean_iou as torch_mean_iou

from lean3d.errors import DataError, ShapeError
from lean3d.metrics import confusion_counts, dice_of_counts, iou_of_counts


def two_maps(seed=0, shape=(2, 5, 6, 7), classes=4):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(classes, shape, generator=generator) for _ in range(2))


def dice(*maps):
    return dice_of_counts(confusion_counts(*maps))


def iou(*maps):
    return iou_of_counts(confusion_counts(*maps))


def test_dice_of_a_map_worked_out_by_hand():
    pred, target = torch.tensor([[0, 1, 1], [2, 2, 0]]), torch.tensor([[0, 1, 2], [2, 0, 0]])
    expected = torch.tensor([4 / 5, 2 / 3, 2 / 4], dtype=torch.float64)
    torch.testing.assert_close(dice(pred, target, 3), expected)
    torch.testing.assert_close(iou(pred, target, 3), expected / (2 - expected))


def test_a_class_in_neither_map_is_nan_and_one_in_a_single_map_is_zero():
    pred, target = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 2])
    assert dice(pred, target, 4)[1:3].tolist() == [0, 0]
    assert dice(pred, target, 4)[3].isnan()
    assert iou(pred, target, 4)[3].isnan()


def test_agrees_with_torchmetrics():
    pred, target = two_maps()
    options = dict(num_classes=4, input_format="index")
    theirs = dice_score(pred, target, average="none", aggregation_level="global", **options)
    torch.testing.assert_close(dice(pred, target, 4).float(), theirs[0])
    theirs = torch_mean_iou(pred[:1], target[:1], per_class=True, **options)
    torch.testing.assert_close(iou(pred[:1], target[:1], 4).float(), theirs[0])


def test_rows_of_the_counts_are_the_truth():
    pred, target = torch.tensor([1, 1, 0]), torch.tensor([0, 0, 1])
    assert confusion_counts(pred, target, 2).tolist() == [[0, 2], [1, 0]]


@pytest.mark.parametrize("score", [dice_of_counts, iou_of_counts])
def test_counts_of_batches_add_up_to_the_global_score(score):
    pred, target = two_maps()
    batches = zip(pred, target, strict=True)
    added = sum(confusion_counts(*batch, 4) for batch in batches)
    torch.testing.assert_close(score(added), score(confusion_counts(pred, target, 4)))


def test_takes_labels_of_any_whole_dtype():
    pred, target = two_maps()
    expected = dice(pred, target, 4)
    torch.testing.assert_close(dice(pred.to(torch.uint8), target.float(), 4), expected)


@pytest.mark.parametrize(("bad", "name"), [("pred", "prediction"), ("target", "truth")])
@pytest.mark.parametrize("label", [-1, 4])
def test_refuses_a_label_out_of_range_and_says_where(bad, name, label):
    maps = dict(zip(("pred", "target"), two_maps(), strict=True))
    maps[bad][0, 0, 0, 0] = label
    with pytest.raises(DataError, match=f"{name} holds labels .*expected 0 to 3"):
        confusion_counts(**maps, num_classes=4)


def test_refuses_probabilities():
    with pytest.raises(DataError, match="prediction holds values that are not whole"):
        confusion_counts(torch.tensor([0.2, 0.9]), torch.tensor([0, 1]), 2)


def test_refuses_maps_of_different_shapes():
    with pytest.raises(ShapeError, match=r"prediction is \(2, 3\) and the truth \(3, 2\)"):
        confusion_counts(torch.zeros(2, 3), torch.zeros(3, 2), 2)


def test_empty_maps_score_nan():
    empty = torch.zeros(0, dtype=torch.long)
    assert dice(empty, empty, 3).isnan().all()
