"""The files that every input of the fuzz tests finds in its folder."""

import os
import shutil
from pathlib import Path

import numpy as np

SEGMENT = ("train", "folder", "--data", "data", "--num-classes", "2", "--patch", "8", "8", "8")
SEGMENT += ("--widths", "2", "4", "--options", "convs=1", "--train-samples", "2")
SEGMENT += ("--val-samples", "1", "--epochs", "1", "--accelerator", "cpu")
NAME = ("train", "videos", "--data", "films", "--num-classes", "2", "--class-names", "a", "b")
NAME += ("--widths", "2", "2", "2", "2", "--train-samples", "2", "--val-samples", "2")
NAME += ("--epochs", "1", "--size", "16", "--clip", "4", "--accelerator", "cpu")
LIVE = ("--widths", "2", "2", "4", "4", "--size", "32")


def write_files() -> None:
    """Scans with labels, videos, images, weights, two runs, and links that lead nowhere."""
    import nibabel as nib
    import torch
    from PIL import Image

    import lean3d
    from lean3d.cli.main import main

    random = np.random.default_rng(0)
    for kind in "images", "labels":
        os.makedirs(f"data/{kind}")
        for case in range(2):
            scan = random.normal(100, 20, (12, 11, 10)).astype("f4")
            label = np.zeros(scan.shape, "u1")
            label[3:9, 3:8, 3:7] = 1
            array = scan if kind == "images" else label
            nib.save(nib.Nifti1Image(array, np.eye(4)), f"data/{kind}/c{case}.nii.gz")
    nib.save(nib.Nifti1Image(scan, np.eye(4)), "scan.nii")
    for name in "film.mp4", "film.avi", "films/a/0.mp4", "films/a/1.mp4", "films/b/0.mp4":
        write_film(name)
    shutil.copy("films/b/0.mp4", "films/b/1.mp4")
    os.makedirs("stills")
    for t in range(3):
        Image.fromarray(np.full((24, 32, 3), 60 * t, "u1")).save(f"stills/{t}.png")
    torch.manual_seed(0)
    torch.save(lean3d.create_model("unet2d", widths=(2, 4)).state_dict(), "flat.pt")
    torch.save(lean3d.create_model("d_resnet_18", widths=(2, 2, 4, 4)).state_dict(), "live.pt")
    os.symlink("loop", "loop")
    os.symlink("missing.nii", "dangling.nii")
    Path("notes.txt").write_text("not what you look for\n")
    Path("empty").write_bytes(b"")
    os.makedirs("nothing")
    Path(os.fsdecode(b"b\xff.nii")).write_bytes(Path("scan.nii").read_bytes())
    for argv in (*SEGMENT, "--out", "run"), (*NAME, "--out", "named"):
        if main(list(argv)):
            raise RuntimeError(f"{argv} failed")


def write_film(path: str, frames: int = 8, size: tuple[int, int] = (24, 32)) -> None:
    import av

    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    random = np.random.default_rng(0)
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            pixels = random.integers(0, 255, (*size, 3), dtype="u1")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
