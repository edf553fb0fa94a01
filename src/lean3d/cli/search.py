"""lean3d search GALLERY VIDEO"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from lean3d.cli.device import find_device
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, show_table
from lean3d.data.source import public_name
from lean3d.errors import RunError
from lean3d.limits import check_number

__all__ = ["main"]

MOST = 1_000_000
COLUMNS = ("rank", "name", "person", "camera", "distance")


@dataclass(frozen=True)
class Search:
    """Find who is in a video: the nearest videos of a gallery, with their distances.

    Attributes:
        gallery: Folder that lean3d index made.
        sources: Video files, folders of images, camera or camera:1, or rtsp:// addresses.
        num: Videos to find for each.
        every: Print the nearest after each that many frames too, while the video runs.
        limit: Stop after this many frames of each source.
        fps: Of a folder of images; 25 by default.
        run: Folder of the run that made the gallery, if it was moved.
        device: Where to compute, such as cuda; a GPU if there is one by default.
    """

    gallery: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="GALLERY")]
    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")] = ()
    num: int = 10
    every: int | None = None
    limit: int | None = None
    fps: float | None = None
    run: Path | None = None
    device: str | None = None


def main(argv: list[str]) -> None:
    asked = parse(Search, "search", argv)
    if not asked.sources:
        raise RunError("search needs a video: a file, a folder of images, camera, or an address")
    for flag, value in (("--num", asked.num), ("--every", asked.every), ("--limit", asked.limit)):
        if value is not None:
            check_number(flag, value, 1, MOST)
    from lean3d.infer.gallery import Gallery
    from lean3d.recipes.gallery import Searcher

    gallery = Gallery.load(asked.gallery)
    searcher = Searcher(gallery, asked.run, find_device(asked.device))
    results = [_search(asked, searcher, source) for source in asked.sources]
    for result in results:
        print(f"{result['video']}, {result['frames']} frames")
        show_table(result["found"], list(COLUMNS))
    show_json({"gallery": str(asked.gallery), "videos": results})


def _search(asked: Search, searcher: Any, source: str) -> dict[str, Any]:
    name, number, vector_E = public_name(source), 0, None
    for number, vector_E in searcher.watch(source, asked.fps):
        if asked.every is not None and number % asked.every == 0:
            best = searcher.nearest(vector_E, 1)[0]
            who = best["person"] or best["name"]
            print(f"{name} frame {number}: {who} {best['distance']:.4f}", flush=True)
        if number == asked.limit:
            break
    if vector_E is None:
        raise RunError(f"{name} has no frame to search with")
    return {"video": name, "frames": number, "found": searcher.nearest(vector_E, asked.num)}
