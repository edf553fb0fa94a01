"""lean3d share RUN --out FOLDER --license LICENSE"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lean3d.cli.parse import parse
from lean3d.cli.show import show_json
from lean3d.errors import RunError

__all__ = ["main"]


@dataclass(frozen=True)
class Share:
    """Write a run to give away: recipe, weights as safetensors, a card; and push it to the Hub.

    Attributes:
        run: Folder of the run.
        out: The folder to write, which every command takes as a run.
        license: Of the weights, as the Hugging Face Hub names it, such as apache-2.0.
        push: USER/NAME on the Hub to upload it to.
        private: Make it private there.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    out: Path
    license: str
    push: str | None = None
    private: bool = False


def main(argv: list[str]) -> None:
    asked = parse(Share, "share", argv)
    if asked.push is not None and asked.push.count("/") != 1:
        raise RunError(f"--push is USER/NAME of the Hub, got {asked.push!r}")
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
