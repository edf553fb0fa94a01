"""Files that commands read and therefore never overwrite."""

from pathlib import Path

from lean3d.networks.network import is_file, weights_file

__all__ = ["run_files", "weights_files"]


def run_files(run: Path) -> list[Path]:
    """Return the files of a run folder that a command reads."""
    checkpoints = [run / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")]
    return [run / "recipe.json", *checkpoints] if run.is_dir() else []


def weights_files(weights: str | None) -> list[Path]:
    """Return the file that weights are read from, if they are one."""
    return [weights_file(weights)] if weights is not None and is_file(weights) else []
