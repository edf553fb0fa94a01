"""Your own videos."""

from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.recurrence import RecurrenceRecipe
from lean3d.recipes.registry import register_recipe

__all__ = ["videos", "videos_lstm"]


@register_recipe
def videos() -> ClassificationRecipe:
    """A D-ResNet-18 on your videos, a folder a class: or a published data set: give --data."""
    return ClassificationRecipe(
        name="videos",
        data="",
        num_classes=0,
        model="d_resnet_18",
        size=112,
        train_samples=1000,
        val_samples=1000,
        # SGD with a schedule by plateaus is the paper's, D3D Sec 3.3; its 0.1 is for batches of 128
        optimizer="sgd",
        lr=0.0125,
        schedule="plateau",
        warmup=100,
        epochs=60,
        batch_size=16,
    )


@register_recipe
def videos_lstm() -> RecurrenceRecipe:
    """An LSTM on the features of all frames of your videos, by the run `videos`: give --data."""
    first = videos()
    return RecurrenceRecipe(
        name="videos_lstm",
        data="",
        num_classes=0,
        model=first.model,
        options=("head=lstm", "layers=2", "hidden=1024", "dropout=0.3"),
        start_from="runs/videos",
        video=300,
        size=first.size,
        train_samples=first.train_samples,
        val_samples=first.val_samples,
        schedule="cosine",
        epochs=20,
        batch_size=16,
    )
