import pytest

from lean3d.processes import start


@pytest.fixture
def forked(monkeypatch):
    """Processes that share what this one has imported: they start in a moment."""
    monkeypatch.setattr(start, "METHOD", "fork")
