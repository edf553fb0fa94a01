"""Gestures of moving digits: D-ResNet with an fc head, then with recurrent heads.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3.3: clips of 19 frames, of
which the last 16 features are used; then the heads alone, on features of whole videos.
Paper: Miao et al., STDCF, NeurIPS 2021, Sec 3.1: the three-layer network of atoms, on whole clips
and alternating between small ones.
Differs from the papers: digits of 32 x 32 instead of Kinetics at 112 x 112 or KTH at 60 x 80, an
eighth of D-ResNet's width, and few epochs of Adam, so that a run takes minutes on one core.
"""

from dataclasses import replace

from lean3d.data.motions import MOTIONS
from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.recurrence import RecurrenceRecipe
from lean3d.recipes.registry import register_recipe

__all__ = [
    "digits",
    "digits_atoms",
    "digits_baseline",
    "digits_gru",
    "digits_lstm",
    "digits_turns",
]

HIDDEN = 128


@register_recipe
def digits() -> ClassificationRecipe:
    """A narrow D-ResNet-18 on gestures of moving digits; --options skip=sum or skip=none."""
    return ClassificationRecipe(
        name="digits",
        data="digits",
        num_classes=len(MOTIONS),
        class_names=MOTIONS,
        model="d_resnet_18",
        widths=(8, 16, 32, 64),
        options=("skip=concat",),
        train_samples=2000,
        val_samples=460,
        lr=2e-3,
        schedule="cosine",
        warmup=100,
        epochs=12,
        batch_size=16,
        channels_last=True,
    )


@register_recipe
def digits_baseline() -> ClassificationRecipe:
    """The 3D-ResNet-18 of equal width, on windows of 16 frames."""
    return replace(digits(), name="digits_baseline", model="hara_resnet_18", options=(), clip=16)


@register_recipe
def digits_atoms() -> ClassificationRecipe:
    """The three-layer network of atoms of STDCF on whole clips of 16 frames."""
    return replace(
        digits(), name="digits_atoms", model="kth_stdcf", options=(), widths=None, clip=16
    )


@register_recipe
def digits_turns() -> ClassificationRecipe:
    """The same network, alternating clips small in space and clips of every second frame."""
    return replace(digits_atoms(), name="digits_turns", turn=4, epochs=24)


@register_recipe
def digits_lstm() -> RecurrenceRecipe:
    """An LSTM of two layers on the features of the run `digits`."""
    return _recurrent("lstm")


@register_recipe
def digits_gru() -> RecurrenceRecipe:
    """A GRU of two layers on the features of the run `digits`."""
    return _recurrent("gru")


def _recurrent(kind: str) -> RecurrenceRecipe:
    first = digits()
    head = f"head={kind}", "layers=2", f"hidden={HIDDEN}", "dropout=0.3"
    return RecurrenceRecipe(
        name=f"digits_{kind}",
        data="digits",
        num_classes=first.num_classes,
        class_names=first.class_names,
        model=first.model,
        widths=first.widths,
        options=(*first.options, *head),
        start_from="runs/digits",
        train_samples=first.train_samples,
        val_samples=first.val_samples,
        schedule="cosine",
        epochs=8,
        batch_size=32,
    )
