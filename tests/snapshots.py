"""Every state in which a folder is while something runs: what a kill at that moment leaves."""

import os
import shutil
from pathlib import Path


class Snapshots:
    """Copies `folder` before and after each file in it is made, filled, renamed or removed.

    `with Snapshots(folder, copies) as taken: run()`; then `taken.states` are folders.
    """

    def __init__(self, folder, copies, monkeypatch):
        self.folder, self.copies, self.monkeypatch = folder, copies, monkeypatch
        self.states, self.last = [], None

    def __enter__(self):
        sync, replace, unlink = os.fsync, Path.replace, Path.unlink
        self.monkeypatch.setattr(os, "fsync", self.around(sync))
        self.monkeypatch.setattr(Path, "replace", self.around(replace))
        self.monkeypatch.setattr(Path, "unlink", self.around(unlink))
        return self

    def __exit__(self, *error):
        self.monkeypatch.undo()

    def around(self, call):
        def wrapped(*args, **kwargs):
            self.take()
            try:
                return call(*args, **kwargs)
            finally:
                self.take()

        return wrapped

    def take(self):
        if not self.folder.exists():
            return
        files = sorted(p for p in self.folder.rglob("*") if p.is_file())
        now = [(p, p.stat().st_ino, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
        if now == self.last:
            return
        self.last = now
        copy = self.copies / str(len(self.states))
        # what a kill in the middle of writing leaves: half of a temporary file
        shutil.copytree(self.folder, copy)
        for path in copy.rglob(".*.*"):
            if path.is_file():
                os.truncate(path, path.stat().st_size // 2)
        self.states.append(copy)
