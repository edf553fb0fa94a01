"""Persons and faces that tests draw, in the layouts of MARS and YouTube Faces."""

import math

import numpy as np
import scipy.io
from PIL import Image, ImageDraw

COLOURS = [
    (230, 40, 40),
    (40, 200, 60),
    (50, 80, 235),
    (235, 220, 40),
    (220, 60, 220),
    (40, 220, 220),
]
COLOURS += [
    (250, 140, 30),
    (120, 70, 20),
    (240, 240, 240),
    (130, 30, 140),
    (150, 220, 120),
    (90, 110, 140),
]


def walker(person, camera, t, size=(64, 32)):
    """A figure in the colours of a person that swings its legs; a camera has its background."""
    high, wide = size
    grey = 40 + 25 * camera
    picture = Image.new("RGB", (wide, high), (grey, grey, grey))
    draw = ImageDraw.Draw(picture)
    coat, trousers = COLOURS[person % len(COLOURS)], COLOURS[(5 * person + 3) % len(COLOURS)]
    middle, swing = wide // 2 + camera % 2, math.sin(0.9 * t + person) * wide / 5
    draw.ellipse((middle - 4, 4, middle + 4, 14), fill=(220, 180, 150))
    draw.rectangle((middle - 7, 15, middle + 7, high // 2 + 3), fill=coat)
    for side in (-1, 1):
        foot = middle + side * swing
        draw.line((middle + 3 * side, high // 2 + 3, foot, high - 4), fill=trousers, width=6)
    return picture


def face(person, video, t, side=32):
    """A face in the colours of a person; videos differ in light, frames in place."""
    light = 0.8 + 0.1 * (video % 3)
    shades = [
        tuple(int(light * c) for c in COLOURS[k % len(COLOURS)]) for k in (person, 5 * person + 3)
    ]
    picture = Image.new("RGB", (side, side), (60, 60, 60))
    draw, right = ImageDraw.Draw(picture), t % 3
    draw.ellipse((4 + right, 2, side - 6 + right, side - 2), fill=shades[0])
    for eye in (10, 20):
        draw.ellipse((eye + right, 9, eye + 4 + right, 14), fill=shades[1])
    draw.rectangle((10 + right, 21, 22 + right, 25), fill=shades[1])
    return picture


def mars(
    root,
    train=(1, 2, 3, 4),
    test=(5, 6, 7),
    cameras=(1, 2, 3),
    frames=6,
    junk=1,
    distractors=2,
):
    """Write a copy of MARS: each person once by each camera; returns the rows of the test part."""
    rows = {"train": [], "test": []}
    names = {"train": [], "test": []}

    def add(part, person, camera, number, shown):
        first = len(names[part]) + 1
        folder = "00-1" if person == -1 else f"{person:04d}"
        (root / f"bbox_{part}" / folder).mkdir(parents=True, exist_ok=True)
        for t in range(frames):
            name = f"{folder}C{camera}T{number:04d}F{t + 1:03d}.jpg"
            walker(shown, camera, t).save(root / f"bbox_{part}" / folder / name, quality=95)
            names[part].append(name)
        rows[part].append((first, len(names[part]), person, camera))

    for part, persons in (("train", train), ("test", test)):
        for person in persons:
            for camera in cameras:
                add(part, person, camera, 1, person)
    for k in range(junk):
        add("test", -1, cameras[k % len(cameras)], k + 1, test[0])
    for k in range(distractors):
        add("test", 0, cameras[k % len(cameras)], k + 1, 40 + k)
    info = root / "info"
    info.mkdir()
    for part in rows:
        (info / f"{part}_name.txt").write_text("\n".join(names[part]) + "\n")
        key, found = f"track_{part}_info", np.array(rows[part], dtype=np.int32)
        scipy.io.savemat(info / f"tracks_{part}_info.mat", {key: found})
    # every person by the first camera
    queries = [n + 1 for n, row in enumerate(rows["test"]) if row[2] > 0 and row[3] == cameras[0]]
    scipy.io.savemat(info / "query_IDX.mat", {"query_IDX": np.array([queries])})
    return rows["test"]


def youtube_faces(root, persons=4, videos=2, frames=8, folds=10):
    """Write a copy of YouTube Faces: in every fold a pair of one person and one of two."""
    for person in range(persons):
        for video in range(videos):
            folder = root / "aligned_images_DB" / f"Person_{person}" / str(video)
            folder.mkdir(parents=True)
            for t in range(frames):
                face(person, video, t).save(folder / f"aligned_detect_0.{100 + t}.jpg", quality=95)
    lines = ["split number, first name, second name, is same"]
    for fold in range(folds):
        one, two = fold % persons, (fold + 1) % persons
        lines.append(f"{fold + 1}, Person_{one}/0, Person_{one}/1, 1")
        lines.append(f"{fold + 1}, Person_{one}/{fold % 2}, Person_{two}/1, 0")
    (root / "splits.txt").write_text("\n".join(lines) + "\n")
    return root


def people(root, persons=range(4), videos=3, frames=8, draw=face):
    """Write a folder of images for each video of each person."""
    for person in persons:
        for video in range(videos):
            folder = root / f"person{person:02d}" / f"c{video}"
            folder.mkdir(parents=True)
            for t in range(frames):
                draw(person, video, t).save(folder / f"{t:03d}.png")
    return root
