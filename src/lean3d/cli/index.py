"""lean3d index RUN VIDEOS"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lean3d.cli.device import find_device
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, show_table
from lean3d.errors import RunError

__all__ = ["main"]


@dataclass(frozen=True)
class Index:
    """Make a gallery of known persons or faces, to search in by lean3d search.

    Attributes:
        run: Folder of a run that learnt identity (persons, faces or mars).
        sources: Videos, folders of images or of videos (PERSON/VIDEO), or LAYOUT:DIR such as
            mars:DIR, of which the gallery is taken.
        out: Folder of the gallery; RUN/gallery by default.
        add: Add to the gallery that is there.
        device: Where to compute, such as cuda; a GPU if there is one by default.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEOS")] = ()
    out: Path | None = None
    add: bool = False
    device: str | None = None


def main(argv: list[str]) -> None:
    asked = parse(Index, "index", argv)
    if not asked.sources:
        raise RunError("index needs videos: files, folders, or LAYOUT:DIR such as people:DIR")
    from lean3d.infer.gallery import Gallery
    from lean3d.lock import held
    from lean3d.recipes.gallery import build_gallery

    out = asked.out or asked.run / "gallery"
    old = Gallery.load(out) if asked.add else None
    if old is None and (out / "gallery.json").exists():
        raise RunError(f"{out} holds a gallery already; pass --add, or another --out")
    made = build_gallery(
        asked.run,
        asked.sources,
        device=find_device(asked.device),
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if old is not None and old.about.get("weights") != made.about["weights"]:
        raise RunError(f"{out} was made by other weights than {asked.run}; give another --out")
    whole = made if old is None else old.added(made)
    with held(out):
        whole.save(out)
    persons = {entry.person for entry in whole.entries} - {None}
    row = {"videos": len(whole.entries), "persons": len(persons), "new": len(made.entries)}
    show_table([row | {"size": whole.vectors.shape[1]}])
    print(f"the gallery is {out}")
    show_json({"gallery": str(out), "run": str(asked.run), **row})
