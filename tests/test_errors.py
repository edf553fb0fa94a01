"""A sentence of lean3d is short and holds no password, whatever it quotes."""

import pickle

import pytest

from lean3d.errors import LONGEST, LeanError, ShapeError, without_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no rtsp://user:secret@host/x here", "no rtsp://***@host/x here"),
        ("no rtsp:/user:secret@127.0.0.1:1 to write in", "no rtsp:/***@127.0.0.1:1 to write in"),
        ("rtsp:user:secret@host", "rtsp:***@host"),
        ("rtsp:\\\\user:secret@host", "rtsp:\\\\***@host"),
        ("'RTSP://u:se/c@ret@host'", "'RTSP://***@host'"),
        ("rtsp://u:se cret@host/x is gone", "rtsp://***@host/x is gone"),
        ("admin:secret@10.0.0.1/live", "***@10.0.0.1/live"),
        ("http://host/x?token=secret&a=1", "http://host/x?token=***&a=1"),
        ("raw frames 64x48@10, camera:1", "raw frames 64x48@10, camera:1"),
        ("see http://host:80/x, or write to me@host", "see http://host:80/x, or write to me@host"),
    ],
)
def test_an_address_is_shown_without_its_login(text, shown):
    assert without_passwords(text) == shown
    assert str(LeanError(text)) == shown


def test_a_sentence_keeps_its_ends_and_no_more_than_400_characters():
    said = str(ShapeError(f"it got {'9' * 1000}; give a smaller one"))
    assert len(said) == LONGEST == 400
    assert said.startswith("it got 999")
    assert said.endswith("9; give a smaller one")
    assert str(pickle.loads(pickle.dumps(ShapeError(said)))) == said
