"""Galleries of persons: made by a run from videos, and searched with others.

Axes: C channels, E embedding, H height, W width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lean3d
from lean3d.data import Look, People, Tracklet, list_people_sets, load_people, open_frames
from lean3d.data.named import split_name
from lean3d.data.stills import list_images
from lean3d.data.video_sets.files import walk
from lean3d.errors import DataError, RunError
from lean3d.infer import Embedding, fuse
from lean3d.infer.gallery import Entry, Gallery
from lean3d.recipes.identity import IdentityRecipe
from lean3d.recipes.load import load_run
from lean3d.recipes.tracklets import person_look, readable
from lean3d.recipes.vectors import Vectors, weights_key
from lean3d.signals import check_stopped

__all__ = ["Searcher", "build_gallery", "known_videos"]


def build_gallery(
    run: str | Path,
    sources: Sequence[str],
    *,
    device: torch.device | str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Gallery:
    """Return a gallery of the videos of `sources`, by the network of a run.

    Args:
        sources: As `known_videos` takes them.

    Raises:
        RunError: the run has not learnt identity.
        DataError: a source holds no video, or one is damaged.
    """
    model, recipe = identity_run(run)
    people = [known_videos(source, recipe.camera) for source in sources]
    # boxes that show no person well are never found
    people = [replace(p, gallery=[t for t in p.gallery if t.person != "-1"]) for p in people]
    vectors = Vectors(model, recipe, weights_key(Path(run)), device)
    _check_skip(vectors, recipe)
    total, found, entries = sum(len(p.every) for p in people), [], []
    for one in people:
        tracklets, times = readable(recipe, one.every, one.folder)
        for tracklet in tracklets:
            check_stopped()
            found.append(vectors.of_video(tracklet, times, skips=(recipe.skip,))[0])
            person = tracklet.person or None
            path = str(tracklet.path.resolve())
            entries.append(Entry(tracklet.name, person, tracklet.camera, path))
            tell(f"{len(entries)}/{total}  {tracklet.name}")
    about = {
        "run": str(Path(run).resolve()),
        "weights": weights_key(Path(run)),
        "lean3d": lean3d.__version__,
    }
    return Gallery(torch.stack(found), tuple(entries), about)


def known_videos(source: str, camera: str | None = None) -> People:
    """Return the videos of a source, whose part is the gallery.

    Args:
        source: LAYOUT:DIR, of which the gallery is taken if it has one; a video; a folder of
            images; or a folder of videos, of which a folder within it names the person.

    Raises:
        DataError: there is none.
    """
    path = Path(source).expanduser()
    if split_name(source)[0] in list_people_sets():
        found = load_people(source, camera)
        return People(found.name, gallery=found.gallery or found.every, folder=found.folder)
    if not path.exists():
        raise DataError(f"there is no file or folder {source}, and no layout of this name")
    images = list_images(path) if path.is_dir() else []
    if path.is_file() or images:
        names = tuple(image.name for image in images)
        return People(source, gallery=[Tracklet(path.name, "", path, None, names)])
    gallery = []
    for video in walk(path)[0]:
        inside = video.relative_to(path)
        person = inside.parts[0] if len(inside.parts) > 1 else ""
        names = tuple(i.name for i in list_images(video)) if video.is_dir() else ()
        gallery.append(Tracklet(str(inside), person, video, None, names))
    if not gallery:
        raise DataError(f"{source} holds no video")
    return People(source, gallery=gallery, folder=path)


def identity_run(run: str | Path) -> tuple[Any, IdentityRecipe]:
    """Return the network and the recipe of a run that learnt identity."""
    model, recipe = load_run(run)
    if not isinstance(recipe, IdentityRecipe):
        raise RunError(
            f"{run} learnt {recipe.task} and has no vectors of persons; train one by lean3d train "
            "persons"
        )
    return model, recipe


def _check_skip(vectors: Vectors, recipe: IdentityRecipe) -> None:
    if recipe.skip and not vectors.embedder.causal:
        raise RunError(f"recipe {recipe.name}: skip is for networks with vectors of frames")


@dataclass
class Searcher:
    """Searches a gallery with videos that are read while they run.

    Args:
        gallery: Made by the same weights as those of `run`.
        run: The run; the one that made the gallery by default.

    Raises:
        RunError: the run has other weights, or cannot be found.
    """

    gallery: Gallery
    run: str | Path | None = None
    device: torch.device | str | None = None

    def __post_init__(self) -> None:
        folder = Path(self.run or self.gallery.about.get("run", ""))
        if not (folder / "recipe.json").is_file():
            raise RunError(
                f"the run that made the gallery is not in {folder}; pass --run with its folder"
            )
        if weights_key(folder) != self.gallery.about.get("weights"):
            raise RunError(
                f"the weights of {folder} are not those that made the gallery; make it again by "
                "lean3d index"
            )
        model, self.recipe = identity_run(folder)
        self.model = model.eval().to(self.device or "cpu")
        self.look: Look = person_look(self.recipe)
        self.vectors = Vectors(self.model, self.recipe, "", self.device)
        self.live: Any = None
        if self.vectors.embedder.causal:
            whole = Embedding(self.model, self.recipe.skip, self.recipe.normalise).eval()
            frame = (self.recipe.in_channels, *self.recipe.sides)
            self.live = lean3d.stream(whole, frame=frame)

    def watch(self, source: str, fps: float | None = None) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of frames so far and the vector of the video up to there, (E,).

        A causal network runs frame by frame and yields after each; another one at the end.

        Args:
            source: As `lean3d.data.open_frames` takes it.
            fps: Of a folder of images.
        """
        opened = open_frames(source, fps=fps)
        try:
            yield from self._watch(opened)
        finally:
            opened.close()

    def _watch(self, opened: Any) -> Iterator[tuple[int, Tensor]]:
        frames = (self._seen(frame.pixels) for frame in opened)
        if self.live is None:
            seen = list(frames)
            found = self.vectors.embedder.frames(seen)
            yield len(seen), fuse(found, 0, self.recipe.normalise)
            return
        state = self.live.init()
        like = next(self.model.parameters())
        for number, frame_CHW in enumerate(frames, 1):
            check_stopped()
            vector_BE, state = self.live.step(frame_CHW[None].to(like), state)
            yield number, vector_BE[0].float().cpu()

    def _seen(self, pixels_HWC: Tensor) -> Tensor:
        return self.look.apply([pixels_HWC], self.look.middle(pixels_HWC.shape[:2]))[:, 0]

    def nearest(self, vector_E: Tensor, num: int = 10) -> list[dict[str, Any]]:
        """Return the nearest entries: rank, name, person, camera and distance."""
        distances, places = self.gallery.search(vector_E[None], num)
        found = []
        for rank, (distance, place) in enumerate(
            zip(distances[0].tolist(), places[0].tolist(), strict=True), 1
        ):
            entry = self.gallery.entries[place]
            camera = None if entry.camera is None else entry.camera + 1
            row = {"rank": rank, "name": entry.name, "person": entry.person, "camera": camera}
            found.append(row | {"distance": round(distance, 6)})
        return found
