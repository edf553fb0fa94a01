"""Brain tissues of IBSR: Gonda et al., PmSCn, arXiv:1809.04096, Sec 4.2 and Fig 5."""

from lean3d.recipes.registry import register_recipe
from lean3d.recipes.segmentation import SegmentationRecipe

__all__ = ["ibsr"]


@register_recipe
def ibsr() -> SegmentationRecipe:
    """Segment CSF, grey and white matter as PmSCn does (Fig 5): give --data ibsr:DIR.

    P2SC2 by default; --options streams=2 depth=3 is P2SC3, --model densenet3d the plain network.
    The paper gives no crop, rate or epochs.
    """
    return SegmentationRecipe(
        name="ibsr",
        data="",
        num_classes=4,
        class_names=("background", "CSF", "grey", "white"),
        model="psc_densenet",
        options=("streams=2", "depth=2"),
        patch=(64, 64, 64),
        flips=(2,),
        train_samples=200,
        val_samples=50,
        lr=1e-3,
        schedule="cosine",
        epochs=100,
        batch_size=4,
    )
