"""lean3d demo"""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lean3d
from lean3d.cli.parse import parse
from lean3d.errors import RunError

__all__ = ["main"]

# of a checkout; the wheel does not hold the demo
HOME = Path(lean3d.__file__).parents[2]


@dataclass(frozen=True)
class Demo:
    """Train a 2D UNet, convert it to 3D, and compare five 3D networks in one report.

    Attributes:
        task: brain takes minutes; shapes, the proof of concept of the ACS paper, half an hour.
        out: Folder for the runs, the predicted mask and the report; runs/TASK by default.
        resume: Continue an earlier demo in the folder, if there is one.
    """

    task: Literal["brain", "shapes"] = "brain"
    out: Path | None = None
    resume: bool = False


def main(argv: list[str]) -> None:
    asked = parse(Demo, "demo", argv)
    if not (HOME / "examples" / "demo").is_dir():
        raise RunError(
            "the demo is in a checkout of lean3d, not in the package: git clone "
            "https://github.com/lean3d/lean3d, then make demo"
        )
    sys.path.insert(0, str(HOME))
    demo = importlib.import_module("examples.demo.run")
    demo.run_demo(asked.task, asked.out or Path("runs") / asked.task, resume=asked.resume)
