"""Classification of videos with the settings of the papers: give --data NAME:DIR.

Where a paper trains on many GPUs, the rate is that of one, with its batch.
"""

from dataclasses import replace

from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.registry import register_recipe

__all__ = ["csn_kinetics", "d3d_kinetics", "kth_rank1", "kth_regular", "kth_stdcf", "psc_ucf101"]

MILLION = 1_000_000


@register_recipe
def csn_kinetics() -> ClassificationRecipe:
    """ir-CSN-152 on Kinetics, 32 frames by 2 (CSN, Sec 4.1): give --data kinetics400:DIR.

    0.01 for the 8 clips of a GPU, epochs of a million clips, the first ten of 45 to warm up. The
    rate falls by half a cosine over all epochs, where the paper's begins after the warm-up.
    """
    return ClassificationRecipe(
        name="csn_kinetics",
        data="",
        num_classes=0,
        model="ir_csn_152",
        clip=32,
        step=2,
        size=224,
        crop="short_side",
        short_side=(256, 320),
        flip=True,
        train_samples=MILLION,
        val_samples=20_000,
        optimizer="sgd",
        lr=0.01,
        weight_decay=1e-4,
        schedule="cosine",
        warmup=10 * MILLION // 8,
        epochs=45,
        batch_size=8,
        channels_last=True,
    )


@register_recipe
def kth_regular() -> ClassificationRecipe:
    """The three-layer 3D network of STDCF on KTH, grey, 16 x 60 x 80 (Sec 3.1): --data kth:DIR."""
    return ClassificationRecipe(
        name="kth_regular",
        data="",
        num_classes=0,
        model="kth_regular",
        in_channels=1,
        clip=16,
        size=60,
        width=80,
        crop="middle",
        # of its training and validation set
        train_samples=4667,
        val_samples=4551,
        lr=1e-3,
        schedule="steps",
        steps=(20,),
        epochs=40,
        batch_size=16,
    )


@register_recipe
def kth_rank1() -> ClassificationRecipe:
    """The same network with kernels of rank 1 (STDCF, Sec 3.1): --data kth:DIR."""
    return replace(kth_regular(), name="kth_rank1", model="kth_rank1")


@register_recipe
def kth_stdcf() -> ClassificationRecipe:
    """The same network of spatial and temporal atoms (STDCF, Sec 3.1): --data kth:DIR."""
    return replace(kth_regular(), name="kth_stdcf", model="kth_stdcf")


@register_recipe
def psc_ucf101() -> ClassificationRecipe:
    """P2SC2-ResNet-34 on UCF101, 64 consecutive frames of 64 x 64 (PmSCn): --data ucf101:DIR.

    The paper gives Adam, and neither its rate nor its epochs. It scores 20 clips of a video:
    `lean3d evaluate RUN --clips 20`.
    """
    return ClassificationRecipe(
        name="psc_ucf101",
        data="",
        num_classes=0,
        model="psc_resnet34",
        clip=64,
        size=64,
        crop="middle",
        # split 1
        train_samples=9537,
        val_samples=3783,
        epochs=50,
        batch_size=16,
    )


@register_recipe
def d3d_kinetics() -> ClassificationRecipe:
    """D-ResNet-18 on Kinetics, 19 frames of which 16 count (D3D, Sec 3.3): --data kinetics600:DIR.

    The paper's rate of 0.1 is for the largest batch that fits, of about 128 clips.
    """
    return ClassificationRecipe(
        name="d3d_kinetics",
        data="",
        num_classes=0,
        model="d_resnet_18",
        clip=19,
        size=112,
        train_samples=240_000,
        val_samples=20_000,
        optimizer="sgd",
        lr=0.1,
        schedule="plateau",
        epochs=60,
        batch_size=128,
        channels_last=True,
    )
