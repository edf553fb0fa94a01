"""Claim 12, PmSCn on brain tissue: `python -m papers.pmscn.brain --device cuda`.

Paper: Gonda et al., Parallel Separable 3D Convolution (PmSCn), arXiv:1809.04096, Fig 5
The DenseNet of the paper with 3D convolutions or with PmSCn units, half as wide, from scratch, on
the MNI152 brain at 1 mm: trained on the back, tested on the front, with a gap between. A network
and seed takes two to four minutes of an H100; without --device cuda half an hour to three quarters
of a CPU core, all eighteen ten hours; `papers.pmscn.units` is of a size for CPUs. With `--data
ibsr:DIR` on the paper's own data. The filters of a unit follow Eqn 5, which does not give the sizes
that the paper prints; "fewer" are units whose filters are chosen to give about the share of
parameters that Fig 5 has: 48 and 27 %.

A machine without nilearn reads the brain from a file: `--save brain.npz` writes it, `--data
brain.npz` reads it.
"""

from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lean3d.data import PatchDataset, Volume, brain_slabs, find_items, mni152, normalise
from lean3d.data.brain import TISSUES
from lean3d.infer.labels import predict_labels
from lean3d.metrics import confusion_counts, dice_of_counts
from lean3d.models import create_model
from lean3d.models.densenet import DEPTHS
from lean3d.ops import ParallelSeparableConv3d
from lean3d.tasks.segmentation import Segmentation
from papers.command import Work, carry_out, flags
from papers.learn import folder_of
from papers.pmscn.brain_text import draw, section
from papers.trained import seeded, train

__all__ = ["NETWORKS", "TINY", "Scale", "build", "learnt", "main", "tissues", "work"]

HERE = Path(__file__).parent
MNI = "mni152"


@dataclass(frozen=True)
class Unit:
    """m streams of n 2D convolutions, with the filters of Eqn 5 or with fewer."""

    streams: int
    depth: int
    fewer: bool = False


NETWORKS: dict[str, Unit | None] = {
    "3D": None,
    "P1SC1": Unit(1, 1),
    "P2SC2": Unit(2, 2),
    "P2SC3": Unit(2, 3),
    "P2SC2, fewer": Unit(2, 2, fewer=True),
    "P2SC3, fewer": Unit(2, 3, fewer=True),
}


@dataclass(frozen=True)
class Scale:
    """How large everything is; see `densenet3d` for width and growth.

    Args:
        spacing_mm: Of the MNI brain.
        patch: Voxels along a side of a training crop.
        fewer: Filters of P2SC2 and of P2SC3 that give the paper's share of parameters.
        crops: In an epoch.
        window: Of the prediction.
    """

    data: str = MNI
    spacing_mm: int = 1
    width: int = 12
    growth: int = 14
    fewer: tuple[int, int] = (7, 3)
    patch: int = 32
    crops: int = 100
    epochs: int = 40
    batch: int = 4
    lr: float = 1e-3
    window: int = 64

    @property
    def depths(self) -> tuple[int, ...]:
        """Layers of each dense block; those of the paper's five."""
        return DEPTHS


TINY = Scale(MNI, 4, 4, 2, (1, 1), patch=16, crops=4, epochs=2, batch=2, window=16)


def work(scale: Scale) -> Work:
    """What the command measures."""
    read = cache(partial(tissues, scale.data, scale.spacing_mm))
    one = partial(_one, scale, read)
    # a file holds the same brain
    kind = MNI if scale.data.endswith(".npz") else scale.data.partition(":")[0]
    settings, stem = asdict(scale) | {"data": kind}, "brain" if kind == MNI else f"brain_{kind}"
    return Work(stem, settings, tuple(NETWORKS), one, section, draw)


def tissues(data: str, spacing_mm: int) -> tuple[list[Volume], list[Volume]]:
    """Volumes to train on and to test on, of zero mean and unit variance."""
    if data == MNI or data.endswith(".npz"):
        whole = mni152(spacing_mm) if data == MNI else _read(Path(data))
        parts = [[part] for part in brain_slabs(normalise(whole))]
    else:
        parts = [[normalise(c.read(None)) for c in cases] for cases in _ibsr(data)]
    train, tests = ([_small(volume) for volume in part] for part in parts)
    return train, tests


def build(unit: Unit | None, scale: Scale, seed: int) -> nn.Module:
    """A network with weights that the seed fixes."""
    sizes: dict[str, Any] = dict(
        width=scale.width, growth=scale.growth, depths=scale.depths, num_classes=len(TISSUES)
    )
    if unit is not None:
        filters = scale.fewer[unit.depth - 2] if unit.fewer else None
        shape: dict[str, Any] = dict(streams=unit.streams, depth=unit.depth, filters=filters)
        sizes["conv"] = partial(ParallelSeparableConv3d, **shape)
    with seeded(seed):
        return create_model("densenet3d", **sizes)


def _one(scale: Scale, read: Any, name: str, seed: int, runs: Path, device: str) -> dict[str, Any]:
    model, folder = build(NETWORKS[name], scale, seed), folder_of(runs, name, seed, scale)
    return learnt(model, scale, read(), seed, folder, device)


def learnt(
    model: nn.Module,
    scale: Scale,
    volumes: tuple[list[Volume], list[Volume]],
    seed: int,
    folder: Path,
    device: str,
    warmup: int = 0,
) -> dict[str, Any]:
    """Train a network in a folder, and score it on the volumes held out.

    Args:
        volumes: To train on, and to test on.
        warmup: Steps over which the rate rises.
    """
    samples, tests = volumes
    patch = (scale.patch,) * 3
    crops = PatchDataset(samples, patch, scale.crops, seed, flips=(2,), min_foreground=0.3)
    # no choice is made by it: the last weights count
    val = PatchDataset(tests, patch, 4 * scale.batch, 1000 + seed, min_foreground=0.3)
    more: dict[str, Any] = dict(schedule="cosine", channels_last=device == "cpu", warmup=warmup)
    task = Segmentation(model, len(TISSUES), class_names=TISSUES, lr=scale.lr, **more)
    found = train(
        task,
        crops,
        val,
        folder,
        seed=seed,
        epochs=scale.epochs,
        batch_size=scale.batch,
        val_batch=scale.batch,
        device=device,
        best=False,
    )
    rows = found["epochs"]
    return {
        "params": sum(p.numel() for p in model.parameters()),
        "seconds": round(sum(row["seconds"] for row in rows)),
        "train_loss": [round(row["train_loss"], 4) for row in rows],
        "curve": [round(row["val_dice"], 4) for row in rows],
        **_score(model, tests, scale, device),
    }


def _score(model: nn.Module, tests: list[Volume], scale: Scale, device: str) -> dict[str, Any]:
    """Dice of each tissue, the mean over test volumes."""
    found = []
    for volume in tests:
        assert volume.label is not None
        size = min(scale.window, *volume.label.shape)
        window = (size, size, size)
        guess = predict_labels(model, volume.image, window, overlap=0.25, device=device)
        counts_KK = confusion_counts(guess, volume.label, len(TISSUES))
        found.append(dice_of_counts(counts_KK)[1:])
    dice_K = torch.stack(found).nanmean(0)
    by_class = {name: round(float(d), 4) for name, d in zip(TISSUES[1:], dice_K, strict=True)}
    return {"dice": round(float(dice_K.mean()), 4), "by class": by_class}


def _ibsr(data: str) -> tuple[list[Any], list[Any]]:
    """The eleven cases to train on and the five to test on; a share where there are fewer."""
    from lean3d.recipes import get_recipe
    from lean3d.recipes.cases import data_cases, split_cases

    recipe: Any = replace(get_recipe("ibsr"), data=data)
    parts = {item.name: item.split for item in find_items(data).items}
    train, tests = (
        [case for case in data_cases(recipe) if parts[case.name] == part]
        for part in ("train", "test")
    )
    if train and tests:
        return train, tests
    split = split_cases(recipe)
    return split.train, split.held_out


def _small(volume: Volume) -> Volume:
    assert volume.label is not None
    return replace(volume, label=volume.label.to(torch.uint8))


def _read(path: Path) -> Volume:
    with np.load(path) as file:
        image, label, affine = (file[name] for name in ("image", "label", "affine"))
    return Volume(torch.from_numpy(image), torch.from_numpy(label).long(), affine, path.stem)


def _save(path: Path, spacing_mm: int) -> None:
    brain = mni152(spacing_mm)
    assert brain.label is not None
    label = brain.label.numpy().astype(np.uint8)
    np.savez_compressed(path, image=brain.image.numpy(), label=label, affine=brain.affine)


def main(argv: list[str] | None = None) -> None:
    parser = flags("papers.pmscn.brain", str(__doc__))
    parser.add_argument("--data", default=MNI, help="mni152, a file of --save, or ibsr:DIR")
    parser.add_argument("--save", type=Path, help="write the MNI brain to this file, and end")
    asked = parser.parse_args(argv)
    scale = replace(TINY if asked.tiny else Scale(), data=asked.data)
    if asked.save is not None:
        _save(asked.save, scale.spacing_mm)
        return
    carry_out(work(scale), asked, parser, HERE)


if __name__ == "__main__":
    main()
