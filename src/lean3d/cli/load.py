"""lean3d load FILE"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lean3d.checkpoints import load_checkpoint, open_checkpoint
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json
from lean3d.cli.weights import save_weights
from lean3d.errors import RunError
from lean3d.files import check_outputs
from lean3d.models import list_models
from lean3d.networks.make import make_model

__all__ = ["main"]


@dataclass(frozen=True)
class Load:
    """Identify a file of published weights, and load it into its network.

    Attributes:
        file: A file by torch.save, or .safetensors.
        format: As lean3d.load_checkpoint takes it; recognised by the keys by default.
        out: Where to write the weights under lean3d's names.
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    format: str | None = None
    out: Path | None = None


def main(argv: list[str]) -> None:
    asked = parse(Load, "load", argv)
    check_outputs({"--out": asked.out}, {"file": [asked.file]})
    found = open_checkpoint(asked.file, format=asked.format)
    network = found.structure
    if network is None or network.name not in list_models():
        raise RunError(
            f"{asked.file} ({found.form.what}) does not say which network it belongs to; build it "
            "and call lean3d.load_checkpoint(model, path)"
        )
    model = make_model(network.name, network.arguments)
    loaded = load_checkpoint(model, asked.file, format=asked.format, new_head=True)
    if asked.out is not None:
        save_weights(model, asked.out)
    print(loaded, f"build: {network}", sep="\n")
    written = None if asked.out is None else str(asked.out)
    summary = {key: value for key, value in vars(loaded).items() if key != "loaded"}
    model_row = {"model": network.name, "arguments": network.arguments, "out": written}
    show_json(model_row | summary | {"tensors": len(loaded.loaded)})
