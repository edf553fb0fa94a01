"""Which view for which kernel, which ACS leaves open: `python -m papers.acs.views --device cuda`.

Paper: Yang et al., Reinventing 2D Convolutions for 3D Images (ACS), arXiv:1911.10477, Sec 3.1, 6
Thirds: the kernels of a 2D network go to the three views in their order, as in ACS. Soft: each is a
mixture of its views to the end, as in Soft-ACS. Learnt: a mixture at first, and after ten epochs
the one view that has the largest share, for good. All start from the same 2D weights, on the solids
of the proof of concept, on the same as thick slices (every second one), and on crops of the MNI
brain, tested on its front. A network and seed takes 10 to 30 seconds of an H100; without --device
cuda six minutes of a CPU core.

A machine without nilearn reads the brain from a file, see papers.pmscn.brain.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.data import PatchDataset, Shapes2D, Shapes3D, SliceDataset
from lean3d.data.brain import TISSUES
from lean3d.data.samples import Samples
from lean3d.lock import held
from lean3d.ops import SoftACSConv3d
from lean3d.tasks.segmentation import Segmentation
from papers.acs.shape_training import score, train_flat
from papers.acs.shape_unet import flat_unet, solid_unet, transfer
from papers.acs.views_text import draw, section
from papers.command import Work, carry_out, flags
from papers.learn import folder_of
from papers.pmscn.brain import MNI, tissues
from papers.trained import Kept, train

__all__ = ["TINY", "Scale", "Slices", "Views", "choose", "main", "work"]

HERE = Path(__file__).parent
FORMS = {"thirds": "ACS", "soft": "Soft-ACS", "learnt": "Soft-ACS"}
DATA = ("solids", "slices", "brain")
STEP = 2
# logits of the views that are chosen: their softmax is 0 or 1 exactly
CHOSEN = 1e4


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Args:
        soft: Epochs of the mixture, of all `epochs`.
        quick: By how much the rate of the mixture is larger.
    """

    size: int = 32
    widths: tuple[int, ...] = (32, 64)
    images: int = 10_000
    image_epochs: int = 3
    volumes: int = 100
    tests: int = 100
    epochs: int = 30
    soft: int = 10
    quick: float = 10.0
    batch: int = 4
    spacing_mm: int = 1


TINY = Scale(16, (4, 8), 64, 1, volumes=4, tests=4, epochs=2, soft=1, spacing_mm=4)


class Slices(Samples):
    """Volumes of thick slices: every second one of others'."""

    def __init__(self, volumes: Samples):
        super().__init__(len(volumes), volumes.seed)
        self.volumes = volumes

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.volumes[index]
        return image[:, ::STEP].contiguous(), label[::STEP].contiguous()


class Views(Segmentation):
    """Segmentation that chooses one view for each kernel after so many epochs."""

    def __init__(self, model: nn.Module, soft: int, **settings: Any):
        super().__init__(model, **settings)
        self.soft = soft

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if self.current_epoch >= self.soft:
            choose(self.model)


@torch.no_grad()
def choose(model: nn.Module) -> None:
    """Leave each kernel the view of the largest share alone; again, it changes nothing."""
    for module in model.modules():
        if isinstance(module, SoftACSConv3d):
            best = module.views.argmax(1)
            module.views.copy_(CHOSEN * nn.functional.one_hot(best, 3))
            module.views.requires_grad_(False)
            module.views.grad = None


def shares(model: nn.Module) -> list[float]:
    """Which part of the kernels has the axial, coronal and sagittal view, or most of it."""
    chosen = [
        module.views.argmax(1)
        for module in model.modules()
        if isinstance(module, SoftACSConv3d) and max(module.kernel_size) > 1
    ]
    counts = torch.cat(chosen).bincount(minlength=3)
    return [round(float(share), 4) for share in counts / counts.sum()]


@dataclass(frozen=True)
class Parts:
    """Images for the 2D network, volumes to train on and to test on."""

    images: Kept
    volumes: Kept
    tests: Kept


def work(scale: Scale, brain: str = MNI) -> Work:
    """What the command measures."""
    slabs = cache(partial(tissues, brain, scale.spacing_mm))
    names = tuple(f"{data}, {how}" for data in DATA for how in FORMS)
    return Work("views", asdict(scale), names, partial(_one, scale, slabs), section, draw)


def _one(scale: Scale, slabs: Any, name: str, seed: int, runs: Path, device: str) -> dict[str, Any]:
    data, how = name.split(", ")
    parts = _parts(data, scale, slabs, seed)
    classes = len(parts.volumes.names)
    model = solid_unet(FORMS[how], scale.widths, seed, classes)
    transfer(_pretrained(data, parts.images, scale, seed, runs, device), model)
    quick = {n: scale.quick for n, _ in model.named_parameters() if n.endswith("views")}
    task = Views(
        model,
        scale.soft if how == "learnt" else scale.epochs,
        num_classes=classes,
        class_names=parts.volumes.names,
        loss="dice",
        schedule="cosine",
        lr_scale=quick,
        channels_last=device == "cpu",
    )
    # no choice is made by the tests: the last weights count
    found = train(
        task,
        parts.volumes,
        parts.tests,
        folder_of(runs, name, seed, scale),
        seed=seed,
        epochs=scale.epochs,
        batch_size=scale.batch,
        val_batch=5 * scale.batch,
        device=device,
        best=False,
    )
    rows = found["epochs"]
    more = {"shares": shares(model)} if how != "thirds" else {}
    return {
        **score(model, parts.tests, parts.tests.names, device),
        "seconds": round(sum(row["seconds"] for row in rows)),
        "curve": [round(row["val_dice"] or 0, 4) for row in rows],
        "train_loss": [round(row["train_loss"], 4) for row in rows],
        **more,
    }


def _parts(data: str, scale: Scale, slabs: Any, seed: int) -> Parts:
    seeds = [3 * seed + part for part in range(3)]
    if data == "brain":
        train_on, test_on = slabs()
        side, sizes = scale.size, dict(min_foreground=0.3)
        images = SliceDataset(train_on, (0, 1, 2), (side, side), scale.images, seeds[0], **sizes)
        volumes = PatchDataset(train_on, (side,) * 3, scale.volumes, seeds[1], **sizes)
        tests = PatchDataset(test_on, (side,) * 3, scale.tests, seeds[2], **sizes)
        return Parts(*(Kept(one, TISSUES) for one in (images, volumes, tests)))
    wrap = Slices if data == "slices" else (lambda volumes: volumes)
    solids = (
        Shapes3D(num, one, size=scale.size)
        for num, one in zip((scale.volumes, scale.tests), seeds[1:], strict=True)
    )
    names: Sequence[str] = Shapes3D.names
    volumes, tests = (Kept(wrap(one), names) for one in solids)
    return Parts(Kept(Shapes2D(scale.images, seeds[0], size=scale.size)), volumes, tests)


def _pretrained(
    data: str, images: Kept, scale: Scale, seed: int, runs: Path, device: str
) -> dict[str, Tensor]:
    """Weights of the 2D network, trained once; processes side by side wait for it."""
    model = flat_unet(scale.widths, seed, len(images.names))
    folder = folder_of(runs, f"2d {'brain' if data == 'brain' else 'shapes'}", seed, scale)
    few = Kept(images, images.names)
    few.length = min(len(images), 100)
    with held(folder, wait=True):
        more: dict[str, Any] = dict(seed=seed, epochs=scale.image_epochs, device=device)
        train_flat(model, images, few, folder, **more)
    return model.state_dict()


def main(argv: list[str] | None = None) -> None:
    parser = flags("papers.acs.views", str(__doc__))
    parser.add_argument("--brain", default=MNI, help="mni152, or a file that holds it")
    asked = parser.parse_args(argv)
    carry_out(work(TINY if asked.tiny else Scale(), asked.brain), asked, parser, HERE)


if __name__ == "__main__":
    main()
