"""Classification of videos with the settings of the papers: give --data NAME:DIR.

Where a paper trains on many GPUs, the rate is that of one, with its batch, and grows with their
number (lr_batch).
"""

from dataclasses import replace

from lean3d.recipes.classification import ClassificationRecipe
from lean3d.recipes.recurrence import RecurrenceRecipe
from lean3d.recipes.registry import register_recipe

__all__ = [
    "csn_finetune",
    "csn_kinetics",
    "d3d_kinetics",
    "d3d_lstm",
    "kth_rank1",
    "kth_regular",
    "kth_stdcf",
    "psc_ucf101",
    "stdcf_kinetics",
    "stdcf_kinetics_whole",
    "stdcf_ssv1",
    "stdcf_ssv1_turns",
]

MILLION = 1_000_000


@register_recipe
def csn_kinetics() -> ClassificationRecipe:
    """ir-CSN-152 on Kinetics, 32 frames by 2 (CSN, Sec 4.1): give --data kinetics400:DIR.

    0.01 for the 8 clips of a GPU, epochs of a million clips, the first ten of 45 to warm up, then
    half a cosine by steps.
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
        lr_batch=8,
        schedule="cosine_step",
        warmup_epochs=10,
        epochs=45,
        batch_size=8,
        channels_last=True,
    )


@register_recipe
def csn_finetune() -> ClassificationRecipe:
    """CSN's published weights on other videos: give --weights FILE and --data ucf101:DIR.

    The paper says that its training settings are used, and no rate. These are those of VMZ's
    scripts/finetune_ucf101.sh: 0.0001 for the 4 clips of a GPU, a tenth every second of 8 epochs of
    100,000 clips, and a weight decay of 0.005.
    """
    return replace(
        csn_kinetics(),
        name="csn_finetune",
        train_samples=100_000,
        val_samples=3783,
        lr=1e-4,
        lr_batch=4,
        weight_decay=5e-3,
        schedule="steps",
        steps=(2, 4, 6),
        warmup_epochs=0,
        epochs=8,
        batch_size=4,
    )


@register_recipe
def stdcf_kinetics() -> ClassificationRecipe:
    """STDCF-ResNet-50 in three times two stages on Kinetics (Sec 3.2): --data kinetics400:DIR.

    256 epochs at 0.03 on small frames, then five stages of 50 at 0.0005. The paper names neither
    its batch nor its schedule and follows SlowFast (arXiv:1812.03982), which trains with half a
    cosine; 64 clips are those of its runs on Something-Something.
    """
    return replace(
        stdcf_kinetics_whole(),
        name="stdcf_kinetics",
        stage_epochs=(256, 50, 50, 50, 50, 50),
        stage_lr=(0.03, 5e-4, 5e-4, 5e-4, 5e-4, 5e-4),
        epochs=506,
    )


@register_recipe
def stdcf_kinetics_whole() -> ClassificationRecipe:
    """The same network on whole clips, 256 epochs (STDCF, Sec 3.2): --data kinetics400:DIR."""
    return ClassificationRecipe(
        name="stdcf_kinetics_whole",
        data="",
        num_classes=0,
        model="stdcf_resnet50",
        clip=8,
        step=8,
        size=224,
        crop="short_side",
        short_side=(256, 320),
        flip=True,
        train_samples=240_000,
        val_samples=19_000,
        optimizer="sgd",
        lr=0.03,
        weight_decay=1e-4,
        schedule="cosine",
        epochs=256,
        batch_size=64,
        channels_last=True,
    )


@register_recipe
def stdcf_ssv1() -> ClassificationRecipe:
    """STDCF-ResNet-50 from a run on Kinetics to Something-Something v1 (Sec 3.3): give --data.

    50 epochs of batches of 64 at 0.001, a tenth from the 30th on, from runs/stdcf_kinetics_whole.
    The paper does not say which frames of these short videos are taken; every fourth of their 12 a
    second spans them. Nothing is mirrored: left and right are in the names of classes.
    """
    return replace(
        stdcf_kinetics_whole(),
        name="stdcf_ssv1",
        start_from="runs/stdcf_kinetics_whole",
        step=4,
        flip=False,
        train_samples=86_000,
        val_samples=12_000,
        lr=1e-3,
        schedule="steps",
        steps=(30,),
        epochs=50,
    )


@register_recipe
def stdcf_ssv1_turns() -> ClassificationRecipe:
    """The same in two times two stages of 20 epochs at 0.0002 (STDCF, Sec 3.3): give --data."""
    return replace(
        stdcf_ssv1(),
        name="stdcf_ssv1_turns",
        start_from="runs/stdcf_kinetics",
        lr=2e-4,
        steps=(15,),
        stage_epochs=(20,) * 4,
        epochs=80,
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


@register_recipe
def d3d_lstm() -> RecurrenceRecipe:
    """An LSTM of 2 x 1024 on the features of the run `d3d_kinetics` (D3D, Sec 3.3): give --data.

    SGD with identical rates, on features of up to 300 frames, ten seconds.
    """
    first = d3d_kinetics()
    return RecurrenceRecipe(
        name="d3d_lstm",
        data="",
        num_classes=0,
        model=first.model,
        options=("head=lstm", "layers=2", "hidden=1024", "dropout=0.3"),
        start_from="runs/d3d_kinetics",
        video=300,
        size=first.size,
        videos=first.train_samples,
        train_samples=first.train_samples,
        val_samples=first.val_samples,
        optimizer=first.optimizer,
        lr=first.lr,
        schedule=first.schedule,
        epochs=first.epochs,
        batch_size=first.batch_size,
    )
