"""Files that commands read and therefore never overwrite."""

from pathlib import Path

__all__ = ["run_files"]


def run_files(run: Path) -> list[Path]:
    """Return the files of a run folder that a command reads."""
    checkpoints = [run / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")]
    return [run / "recipe.json", *checkpoints] if run.is_dir() else []
