"""Features of whole videos by the model of a finished run, kept in its folder."""

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lean3d.data import VideoClips
from lean3d.data.feature_clips import (
    FeatureClips,
    Variation,
    read_features,
    write_features,
)
from lean3d.errors import DataError
from lean3d.models.heads import frame_head
from lean3d.recipes.clips import Clips, whole_videos
from lean3d.recipes.load import load_run
from lean3d.recipes.recurrence import RecurrenceRecipe

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
        FeatureClips(*val, min(recipe.val_samples, len(val[0]))),
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
    """Features (N, T, F) and classes (N,) of all videos, in order, on a GPU where there is one.

    Those of videos that are shorter than the longest come after zeros.
    """
    frame_head(model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    found, labels = [], []
    # videos of different lengths cannot be one batch
    size = 1 if isinstance(videos, VideoClips) else batch_size
    for x_BCTHW, label_B in DataLoader(videos, size):
        features_BFT = model.features(x_BCTHW.to(device))  # type: ignore[operator]
        found += list(features_BFT.transpose(1, 2).cpu())
        labels.append(label_B)
    longest = max(len(x_TF) for x_TF in found)
    padded = [F.pad(x_TF, (0, 0, longest - len(x_TF), 0)) for x_TF in found]
    return torch.stack(padded), torch.cat(labels)
