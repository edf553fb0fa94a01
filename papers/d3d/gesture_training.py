"""D-ResNets and a 3D ResNet trained on gestures, then heads on the features of one of them.

D3D, Sec 3.3: clips of 19 frames of which 16 features count; then the heads alone, on the features
of whole videos. Adam and half a cosine in place of SGD with a rate that falls at plateaus.

Axes: N videos, C channels, T time, H height, W width, F features.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from lean3d.data import MOTIONS, EpochSampler
from lean3d.data.feature_clips import FeatureClips, Variation
from lean3d.models import create_model
from lean3d.tasks.classification import Classification
from lean3d.tasks.recurrence import Recurrence
from papers.gesture_videos import Gestures
from papers.learn import Batches, learn
from papers.trained import seeded

__all__ = [
    "FULL",
    "MAIN",
    "NETWORKS",
    "TINY",
    "VARIANTS",
    "Scale",
    "Variant",
    "looks",
    "train_head",
    "train_network",
]

WINDOW, BEFORE = 16, 3


@dataclass(frozen=True)
class Variant:
    """A network, and the gestures it sees.

    Args:
        wide: How many times the width of the others.
        speed: Of the gestures, of what it is elsewhere.
    """

    model: str = "d_resnet_18"
    skip: str | None = None
    wide: int = 1
    frames: int = 3
    speed: float = 1.0


SKIPS = ("concat", "none", "sum")
MAIN = {skip: Variant(skip=skip) for skip in SKIPS}
MAIN |= {"3D-ResNet-18": Variant("hara_resnet_18")}
# why concatenation may lose to a sum here: the width, the gestures, or what the stem already sees
VARIANTS = {f"{skip} wide": Variant(skip=skip, wide=2) for skip in SKIPS}
VARIANTS |= {f"{skip} slow": Variant(skip=skip, speed=1 / 3) for skip in SKIPS}
VARIANTS |= {f"{skip} one frame": Variant(skip=skip, frames=1) for skip in SKIPS}
NETWORKS = MAIN | VARIANTS


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Args:
        clips: New ones in every epoch.
        videos: Whose features the heads learn from.
        tests: Whole videos; `val` clips give the curve.
    """

    widths: tuple[int, ...] = (8, 16, 32, 64)
    video: int = 32
    size: int = 32
    clips: int = 2048
    val: int = 690
    tests: int = 2300
    epochs: int = 40
    batch: int = 64
    lr: float = 4e-3
    hidden: int = 128
    videos: int = 2300
    head_epochs: int = 15


FULL = Scale()
TINY = Scale((4, 4, 4, 4), 20, 32, 32, 23, 46, 2, 16, hidden=8, videos=23, head_epochs=1)


def looks(scale: Scale, variant: Variant) -> dict[str, Any]:
    """How the videos of a variant are drawn."""
    return dict(frames=scale.video, size=scale.size, speed=variant.speed)


def train_network(
    name: str, scale: Scale, seed: int, folder: Path, device: str
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """The network after its training, which happens once, and the metrics of every epoch."""
    variant = NETWORKS[name]
    model = _build(variant, scale, seed)
    clip = WINDOW + (BEFORE if variant.skip else 0)
    train, val = (
        Gestures(seed, split, device, clip=clip, **looks(scale, variant))
        for split in ("train", "val")
    )
    clips = Batches(train.draw, scale.clips, scale.batch, fresh=True)
    others = Batches(val.draw, scale.val, 230, shuffle=False)
    task = Classification(
        model,
        len(MOTIONS),
        class_names=MOTIONS,
        lr=scale.lr,
        schedule="cosine",
        warmup=scale.clips // scale.batch,
    )
    settings: dict[str, Any] = dict(epochs=scale.epochs, seed=seed, device=device, val_every=5)
    return model, learn(task, clips, others, folder, **settings)


def train_head(
    options: dict[str, Any],
    source: nn.Module,
    parts: tuple[tuple[Tensor, Tensor], ...],
    vary: Variation,
    scale: Scale,
    seed: int,
    folder: Path,
    device: str,
) -> nn.Module:
    """A recurrent head on the features of `source`.

    Args:
        options: Of the head: head, layers.
        parts: Features (N, T, F) and classes (N,), to train on and to validate on.
    """
    more = dict(hidden=scale.hidden, dropout=0.3, **options)
    model = _build(NETWORKS["concat"], scale, seed, **more)
    given = {k: v for k, v in source.state_dict().items() if not k.startswith("head.")}
    model.load_state_dict(given, strict=False)
    task = Recurrence(model, len(MOTIONS), class_names=MOTIONS, lr=2e-3, schedule="cosine")
    (train, val) = ((x.numpy(), label.numpy()) for x, label in parts)
    num = scale.clips
    clips = FeatureClips(*train, num, seed, vary)
    loader: Any = DataLoader(clips, scale.batch, sampler=EpochSampler(num, seed))
    others: Any = DataLoader(FeatureClips(*val, len(val[0])), 230)
    settings: dict[str, Any] = dict(epochs=scale.head_epochs, seed=seed, device=device)
    learn(task, loader, others, folder, **settings, val_every=5)
    return model.head  # type: ignore[return-value]


def _build(variant: Variant, scale: Scale, seed: int, **options: Any) -> nn.Module:
    widths = tuple(width * variant.wide for width in scale.widths)
    if variant.skip:
        options |= dict(skip=variant.skip, frames=variant.frames)
    with seeded(seed):
        return create_model(variant.model, num_classes=len(MOTIONS), widths=widths, **options)
