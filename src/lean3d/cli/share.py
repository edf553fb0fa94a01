"""lean3d share RUN --out FOLDER --license LICENSE [--package monai|bioimageio]"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lean3d.cli.parse import parse
from lean3d.cli.show import show_json
from lean3d.errors import RunError
from lean3d.files import check_outputs

__all__ = ["main"]


@dataclass(frozen=True)
class Share:
    """Write a run to give away: recipe, weights, a card; push it to the Hub.

    Attributes:
        run: Folder of the run.
        out: The folder to write, which every command takes as a run; for bioimageio a .zip.
        license: Of the weights, as the Hugging Face Hub names it, such as apache-2.0; for
            bioimageio by its SPDX name.
        package: run: a folder for lean3d and the Hub; monai: a bundle of MONAI; bioimageio: a
            package of bioimage.io. The last two are of runs that segment.
        author: Who made the model; needed by bioimageio.
        push: USER/NAME on the Hub to upload it to.
        private: Make it private there.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    out: Path
    license: str
    package: Literal["run", "monai", "bioimageio"] = "run"
    author: str = ""
    push: str | None = None
    private: bool = False


def main(argv: list[str]) -> None:
    asked = parse(Share, "share", argv)
    if asked.push is not None and asked.push.count("/") != 1:
        raise RunError(f"--push is USER/NAME of the Hub, got {asked.push!r}")
    if asked.package != "run":
        _package(asked)
        return
    from lean3d.recipes.share import push_to_hub, save_pretrained

    folder = save_pretrained(
        asked.run, asked.out, license=asked.license, name=asked.push or asked.out.name
    )
    print(f"{folder}: recipe.json, model.safetensors and the card README.md")
    address = None
    if asked.push is not None:
        address = push_to_hub(folder, asked.push, private=asked.private)
        print(address)
    show_json({"run": str(asked.run), "out": str(folder), "address": address})


def _package(asked: Share) -> None:
    """Write a run for another library."""
    if asked.push is not None:
        raise RunError(f"--push uploads --package run alone, got --package {asked.package}")
    about = dict(license=asked.license.strip(), author=asked.author)
    if asked.package == "monai":
        from lean3d.recipes.monai_bundle import save_bundle

        written = save_bundle(asked.run, asked.out, **about)
        print(
            f"{written}: a MONAI bundle; python -m monai.bundle run in it predicts scans/*.nii.gz"
        )
    else:
        from lean3d.recipes.bioimageio import save_package

        check_outputs({"--out": asked.out})
        written = save_package(asked.run, asked.out, **about)
        print(f"{written}: a package of bioimage.io; bioimageio test {written} tests it")
    show_json({"run": str(asked.run), "out": str(written), "package": asked.package})
