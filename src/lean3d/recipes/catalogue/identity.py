"""Persons and faces by one vector a video (D3D, Sec 4.4 and 4.5): give --data.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639. Of what it leaves open, the size
of the frames and the persons of a batch are those of Gao and Nevatia, arXiv:1805.02104.
"""

from dataclasses import replace

from lean3d.recipes.identity import IdentityRecipe
from lean3d.recipes.registry import register_recipe

__all__ = ["faces", "faces_frames", "mars", "persons"]

# of ImageNet, on which the networks begin
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@register_recipe
def mars() -> IdentityRecipe:
    """D-ResNet-50 on MARS, 4 clips of 4 frames of each person (D3D, Sec 4.4): --data mars:DIR.

    Adam, 0.0003, a tenth every 60 of 150 epochs, single frames at the input. The paper trains on
    all 625 persons and inflates the weights of ImageNet (--weights FILE --format imagenet); here
    5 % of the persons validate. --options skip=none is its 2D-ResNet-50.
    """
    return IdentityRecipe(
        name="mars",
        data="",
        model="d_resnet_50",
        options=("head=mean", "frames=1"),
        embedding=512,
        size=256,
        width=128,
        flip=True,
        mean=MEAN,
        std=STD,
        lr=3e-4,
        schedule="steps",
        steps=(60, 120),
        epochs=150,
        val_every=10,
        held_out=0.05,
        normalise="mean",
    )


@register_recipe
def faces_frames() -> IdentityRecipe:
    """The 2D-ResNet-18 of D3D on single face images (Sec 4.5), which faces starts from: --data DIR.

    VoxCeleb2 in the paper, three frames a clip, aligned and of 112 x 112. Adam, 0.05, cross-entropy
    over the persons, half of the 256 values dropped, batches of 100, 50 epochs.
    """
    return IdentityRecipe(
        name="faces_frames",
        data="",
        model="d_resnet_18",
        options=("head=embedding", "frames=1", "skip=none"),
        embedding=256,
        clip=1,
        size=112,
        flip=True,
        lr=0.05,
        triplet=0.0,
        dropout=0.5,
        epochs=50,
        batch_size=100,
        per_person=1,
        held_out=0.01,
        normalise="both",
    )


@register_recipe
def faces() -> IdentityRecipe:
    """D-ResNet-18 on five frames of a face, one epoch at 0.01 with motion blur (D3D, Sec 4.5).

    Starts from the run of faces_frames, whose kernels are inflated: --start-from RUN. Scored on
    YouTube Faces: lean3d evaluate RUN --data youtube_faces:DIR.
    """
    return replace(
        faces_frames(),
        name="faces",
        options=("head=embedding", "frames=1"),
        start_from="runs/faces_frames",
        clip=5,
        lr=0.01,
        blur=0.5,
        epochs=1,
    )


@register_recipe
def persons() -> IdentityRecipe:
    """A D-ResNet-18 on your own persons or faces, a folder of videos for each: --data DIR."""
    return IdentityRecipe(
        name="persons",
        data="",
        model="d_resnet_18",
        options=("head=embedding", "frames=1"),
        embedding=256,
        flip=True,
        lr=3e-4,
        schedule="cosine",
        epochs=60,
        normalise="mean",
    )
