import threading

import pytest

from lean3d.errors import RunError
from lean3d.recipes import found
from lean3d.recipes.found import Held


def test_lines_are_told_when_all_is_checked_and_at_once_after_that():
    told = []
    with Held(told.append) as say:
        say("one")
        say("two")
        assert told == []
        say.release()
        say("three")
    assert told == ["one", "two", "three"]


def test_a_check_that_takes_a_while_does_not_keep_them(monkeypatch):
    monkeypatch.setattr(found, "SOON_S", 0.01)
    told, first = [], threading.Event()

    def tell(line):
        told.append(line)
        first.set()

    with Held(tell) as say:
        say("one")
        assert first.wait(20)
    assert told == ["one"]


def test_a_refusal_is_the_only_sentence():
    told = []

    def run():
        with Held(told.append) as say:
            say("one")
            raise RunError("refused")

    with pytest.raises(RunError, match="refused"):
        run()
    assert told == []


def test_in_a_terminal_lines_are_told_as_they_come():
    told = []
    with Held(told.append, hold=False) as say:
        say("one")
        assert told == ["one"]
