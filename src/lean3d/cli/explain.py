"""lean3d explain RUN FILE --out PICTURE"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
import tyro

from lean3d.cli.device import find_device
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json
from lean3d.cli.sources import run_files
from lean3d.data.video_write import CODECS, write_video
from lean3d.errors import RunError
from lean3d.files import check_outputs, write_whole
from lean3d.optional import require

if TYPE_CHECKING:
    from lean3d.recipes.explained import Explained

__all__ = ["main"]

# pictures of a sheet; the shorter side of a moving picture at least; slices a second
SHOWN, SIDE, SLICES = 8, 224, 8.0
SUFFIXES = (".png", ".html", ".gif", *CODECS)


@dataclass(frozen=True)
class Explain:
    """Show where the network of a run looks in a video or a volume.

    Attributes:
        run: Folder of a run that classifies clips or volumes, or segments volumes.
        file: A video, or a scan of any format, one for each channel in order.
        out: What to write: .png (frames or slices in a row), .html (the same with its facts),
            .gif, .mp4, .mkv or .avi (all of them, moving), or a folder for a .png of each.
        how: gradcam shows the evidence for a class, features where the maps of a layer are strong.
        class_name: The class; the one that the network finds by default.
        layer: Path of a module whose maps are shown; by default the last one of the smallest maps.
        device: Where to compute, such as cuda; a GPU if there is one by default.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    file: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    out: Path
    how: Literal["gradcam", "features"] = "gradcam"
    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    layer: str | None = None
    device: str | None = None


def main(argv: list[str]) -> None:
    asked = parse(Explain, "explain", argv)
    if not asked.file:
        raise RunError("explain needs a file: a video, or a scan")
    suffix = asked.out.suffix.lower()
    if suffix not in ("", *SUFFIXES):
        raise RunError(f"explain writes {', '.join(SUFFIXES)} or a folder, got --out {asked.out}")
    if suffix or not asked.out.is_dir():
        sources = {"file": list(asked.file), "run's own file": run_files(asked.run)}
        check_outputs({"--out": asked.out}, sources)
    from lean3d.recipes.explained import explain

    found = explain(
        asked.run,
        asked.file[0] if len(asked.file) == 1 else asked.file,
        asked.how,
        layer=asked.layer,
        target=asked.class_name,
        device=find_device(asked.device),
    )
    _write(asked, found)
    name, share = found.found
    what = "features" if found.asked is None else f"the evidence for {found.asked}"
    print(f"{what}, of the layer {found.layer}; found: {name} ({share:.1%})")
    if not found.heat.any():
        print(f"no voxel is evidence for {found.asked}: try another --layer or --class")
    print(f"the picture is {asked.out}")
    record: dict[str, Any] = dict(out=str(asked.out), run=str(asked.run), how=asked.how)
    record |= dict(layer=found.layer, found=name, probability=round(share, 4))
    show_json(record | {"class": found.asked})


def _write(asked: Explain, found: "Explained") -> None:
    from lean3d.report.heat import paint_heat

    pairs = list(zip(*_enlarged(found), strict=True))
    suffix = asked.out.suffix.lower()
    if suffix in CODECS:
        fps = found.fps or SLICES
        with write_video(asked.out, fps) as writer:
            for number, pair in enumerate(pairs):
                writer.write(torch.from_numpy(paint_heat(*pair)), number / fps)
        return
    if suffix in (".png", ".html"):
        _sheet(asked, found, pairs)
        return
    image = require("PIL.Image", extra="video")
    painted = [image.fromarray(paint_heat(*pair)) for pair in pairs]
    if suffix == ".gif":
        with write_whole(asked.out) as temporary:
            more: Any = dict(save_all=True, append_images=painted[1:], loop=0)
            painted[0].save(temporary, "GIF", duration=1000 / (found.fps or SLICES), **more)
        return
    asked.out.mkdir(exist_ok=True)
    for number, one in enumerate(painted, 1):
        with write_whole(asked.out / f"{number:04}.png") as temporary:
            one.save(temporary, "PNG")


def _enlarged(found: "Explained") -> tuple[np.ndarray, np.ndarray]:
    """Repeat pixels until small frames can be seen."""
    times = max(1, round(SIDE / min(found.heat.shape[1:])))
    return tuple(x.repeat(times, 1).repeat(times, 2) for x in (found.pictures, found.heat))  # type: ignore[return-value]


def _sheet(asked: Explain, found: "Explained", pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    from lean3d.report import Picture, Section, write_page
    from lean3d.report.heat import draw_heat, paint_heat
    from lean3d.train.provenance import provenance

    num = min(SHOWN, len(pairs))
    places = [round(k * (len(pairs) - 1) / max(num - 1, 1)) for k in range(num)]
    unit = "slice" if found.fps is None else "frame"
    names = [f"{unit} {place + 1}" for place in places]
    chosen = [pairs[place] for place in places]
    painted = [paint_heat(*pair) for pair in chosen]
    figure = draw_heat([picture for picture, _ in chosen], painted, names)
    if asked.out.suffix.lower() == ".png":
        with write_whole(asked.out) as temporary:
            figure.savefig(temporary, format="png", dpi=110)
        return
    name, share = found.found
    what = f"The evidence for {found.asked}" if found.asked else "Where the maps are strong"
    text = f"The network finds {name} ({share:.1%}). The maps are those of the layer {found.layer}."
    facts = {"run": str(asked.run), "file": [str(path) for path in asked.file], **provenance()}
    sections = [Section(what, [text, Picture(figure, kind="png")])]
    write_page(asked.out, f"{asked.file[0].name}: where the network looks", sections, facts)
