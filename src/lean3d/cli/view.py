"""lean3d view SEGMENTATION --raw VOLUME"""

import signal
import threading
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lean3d.cli.parse import parse
from lean3d.cli.show import show_json
from lean3d.errors import RunError
from lean3d.recipes.viewer import open_viewer
from lean3d.signals import Stopped

__all__ = ["main"]


@dataclass(frozen=True)
class View:
    """Look at a segmentation, its image and labels in neuroglancer; Ctrl-C ends it.

    Attributes:
        segmentation: A volume of labels, such as seg.zarr, seg.n5 or seg.precomputed.
        raw: The image, such as raw.tif or file.h5:volumes/raw.
        labels: True labels to compare with.
        host: Address of the server; 0.0.0.0 for browsers on other machines.
        port: Of the server; a free one by default.
        browser: Open the page in the browser of this machine.
    """

    segmentation: Annotated[Path | None, tyro.conf.Positional] = None
    raw: Path | None = None
    labels: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    browser: bool = False


def main(argv: list[str]) -> None:
    asked = parse(View, "view", argv)
    images = {} if asked.raw is None else {"raw": asked.raw}
    given = {"segmentation": asked.segmentation, "labels": asked.labels}
    segmentations = {name: path for name, path in given.items() if path is not None}
    if not images and not segmentations:
        raise RunError("view needs a segmentation, --raw or --labels; see lean3d view --help")
    if not 0 <= asked.port < 2**16:
        raise RunError(f"--port is from 0, for a free one, to 65535, got {asked.port}")
    try:
        viewer = open_viewer(images, segmentations, host=asked.host, port=asked.port)
    except OSError as error:
        raise RunError(f"cannot serve at {asked.host}:{asked.port} ({error})") from error
    url = viewer.get_viewer_url()
    print(f"open {url} in a browser; Ctrl-C ends it", flush=True)
    show_json({"url": url})
    if asked.browser:
        webbrowser.open(url)
    try:
        threading.Event().wait()
    except Stopped as stopped:
        # the way in which the command ends
        if stopped.number != signal.SIGINT:
            raise
