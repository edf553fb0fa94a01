"""Neurons in electron microscopy, as in PmSCn Sec 4.3: affinities of a 3D U-Net.

Papers: Gonda et al., PmSCn, arXiv:1809.04096, Sec 4.3; Funke et al., arXiv:1709.02974
"""

from dataclasses import replace

from lean3d.recipes.affinity import AffinityRecipe
from lean3d.recipes.registry import register_recipe

__all__ = ["em_affinities", "em_sections", "em_short"]


@register_recipe
def em_affinities() -> AffinityRecipe:
    """Neurons of PmSCn: psc_unet (P2SC2) on affinities, 300,000 iterations."""
    return AffinityRecipe(
        name="em_affinities",
        data="",
        num_classes=0,
        in_channels=0,
        patch=(64, 64, 64),
        model="psc_unet",
        # the paper gives the iterations alone; Funke et al. train with Adam at 0.5e-4
        lr=5e-5,
        batch_size=1,
        train_samples=1000,
        val_samples=20,
        epochs=300,
    )


@register_recipe
def em_short() -> AffinityRecipe:
    """Neurons in minutes: a narrow psc_unet on affinities of your volume or of drawn neurites."""
    return replace(
        em_affinities(),
        name="em_short",
        data="neurites",
        patch=(32, 64, 64),
        widths=(16, 32, 64),
        keep_depth="auto",
        lr=1e-3,
        batch_size=2,
        train_samples=64,
        val_samples=8,
        epochs=20,
        schedule="cosine",
        loss="dice_ce",
        balance=False,
    )


@register_recipe
def em_sections() -> AffinityRecipe:
    """The same for sections by themselves: a 2D U-Net, to compare with."""
    return replace(
        em_short(),
        name="em_sections",
        channels=("y1", "x1"),
        num_classes=0,
        patch=(128, 128),
        model="unet2d",
        options=("skip=full", "narrow=true"),
        batch_size=4,
        train_samples=128,
        val_samples=16,
        sections=True,
    )
