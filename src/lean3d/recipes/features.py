"""Features of whole videos by the model of a finished run, kept in its folder."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lean3d.data.feature_clips import (
    FeatureClips,
    Variation,
    read_features,
    write_features,
)
from lean3d.errors import DataError
from lean3d.recipes.clips import Clips, whole_videos
from lean3d.recipes.load import load_run
from lean3d.recipes.recurrence import RecurrenceRecipe
from lean3d.tasks.recurrence import parts

__all__ = ["extract", "feature_clips"]


def feature_clips(recipe: RecurrenceRecipe) -> tuple[Dataset, Dataset]:
    """Varied pieces of videos to train a head on, and whole videos to validate it on."""
    assert recipe.start_from is not None
    folder = Path(recipe.start_from)
    model, _ = load_run(folder)
    weights = hashlib.sha256((folder / "checkpoints" / "best.ckpt").read_bytes()).hexdigest()[:8]
    train, val = (
        read_features(_kept(model, videos, folder / "features", weights))
        for videos in whole_videos(recipe, recipe.videos)
    )
    vary = Variation(recipe.shortest, recipe.longest, recipe.slower, recipe.erased, recipe.variance)
    return (
        FeatureClips(*train, recipe.train_samples, recipe.seed, vary),
        FeatureClips(*val, recipe.val_samples),
    )


def _kept(model: nn.Module, videos: Clips, folder: Path, weights: str) -> Path:
    """The file of these videos' features, written if it is not there yet."""
    path = folder / f"{videos.key}_{weights}.npy"
    if not path.exists():
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise DataError(
                f"cannot make {folder} to keep features in: {error.strerror}"
            ) from error
        write_features(path, *extract(model, videos))
    return path


@torch.inference_mode()
def extract(model: nn.Module, videos: Dataset, batch_size: int = 16) -> tuple[Tensor, Tensor]:
    """Features (N, T, F) and classes (N,) of all videos, in order."""
    parts(model)
    found, labels = [], []
    for x_BCTHW, label_B in DataLoader(videos, batch_size):
        features_BFT = model.features(x_BCTHW)  # type: ignore[operator]
        found.append(features_BFT.transpose(1, 2))
        labels.append(label_B)
    return torch.cat(found), torch.cat(labels)
