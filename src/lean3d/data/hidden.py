"""Files and folders that systems leave among data."""

from pathlib import Path

__all__ = ["visible"]

# of archives made on macOS, of NAS boxes, of Windows, of Linux
LEFT_BY_SYSTEMS = {
    "__MACOSX", "@eaDir", "@Recycle", "#recycle", "#snapshot", "$RECYCLE.BIN", "Thumbs.db",
    "System Volume Information", "desktop.ini", "lost+found", "__pycache__",
}  # fmt: skip


def visible(folder: Path) -> list[Path]:
    """Return what a folder holds by name, without hidden files and what systems leave."""
    found = (p for p in folder.iterdir() if not p.name.startswith("."))
    return sorted(path for path in found if path.name not in LEFT_BY_SYSTEMS)
