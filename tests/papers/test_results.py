import json
from dataclasses import replace

import pytest
import torch

from lean3d.errors import RunError
from papers.command import Work, carry_out, flags
from papers.results import Results, spread, where
from papers.trained import Kept, prepare


def test_a_result_is_on_disk_as_soon_as_it_is_measured(tmp_path):
    results = Results(tmp_path / "a.json", {"n": 1})
    results.get("x", 0, lambda: {"dice": 0.5})
    assert json.loads((tmp_path / "a.json").read_text())["entries"][0]["dice"] == 0.5
    with pytest.raises(KeyboardInterrupt):
        results.get("x", 1, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert Results(tmp_path / "a.json", {"n": 1}).values("x", "dice") == [0.5]


def test_the_spread_says_how_many_seeds_it_is_of():
    assert spread([]) == "not run yet"
    assert spread([0.5]) == "50.0 (1 of 3 seeds)"
    assert spread([0.5, 0.52]) == "51.0 ± 1.4 (2 of 3 seeds)"
    assert spread([0.5, 0.51, 0.52]) == "51.0 ± 1.0"
    assert spread([0.1, 0.1, 0.1], digits=2, sign="+") == "+10.00 ± 0.00"


def test_the_commit_is_given_where_the_source_has_no_history(monkeypatch):
    monkeypatch.setattr("papers.results.provenance", lambda: {"commit": None})
    monkeypatch.setenv("LEAN3D_COMMIT", "abc")
    assert where() == {"commit": "abc"}
    monkeypatch.setattr("papers.results.provenance", lambda: {"commit": "own"})
    assert where() == {"commit": "own"}


@pytest.fixture
def work():
    """Two networks whose Dice is known; counts what is measured."""
    done = []

    def measure(name, seed, runs, device):
        done.append((name, seed))
        return {"dice": seed / 10}

    def draw(results, path):
        path.with_suffix(".png").write_text("drawn")

    def section(results):
        return ", ".join(f"{e['name']} {e['seed']}: {e['dice']}" for e in results.entries)

    return Work("abc", {"n": 1}, ("A", "B"), measure, section, draw), done


def command(work, home, *words):
    parser = flags("papers.abc", "A trial.")
    carry_out(work, parser.parse_args(words), parser, home)


def test_pieces_of_processes_are_collected_in_the_order_of_the_networks(work, tmp_path):
    one, done = work
    home, pieces = tmp_path / "home", tmp_path / "pieces"
    home.mkdir()
    (home / "README.md").write_text("<!-- abc: begin -->\n<!-- abc: end -->\n")
    for name, seed in (("B", 1), ("B", 0), ("A", 1), ("A", 0)):
        command(one, home, "--pieces", str(pieces), "--networks", name, "--seeds", str(seed))
    assert not (home / "abc.json").exists()
    command(one, home, "--pieces", str(pieces), "--collect")
    text = "A 0: 0.0, B 0: 0.0, A 1: 0.1, B 1: 0.1"
    assert text in (home / "README.md").read_text()
    assert (home / "abc.png").exists()
    assert len(json.loads((home / "abc.json").read_text())["entries"]) == len(done) == 4
    command(one, home, "--seeds", "0", "1")
    assert len(done) == 4


def test_pieces_of_other_settings_are_left_out(work, tmp_path):
    one, _ = work
    command(one, tmp_path, "--pieces", str(tmp_path / "p"), "--seeds", "0")
    with pytest.raises(SystemExit):
        command(replace(one, settings={"n": 2}), tmp_path, "--pieces", str(tmp_path), "--collect")


@pytest.mark.parametrize("words", [["--networks", "C"], ["--collect"], ["--tiny"]])
def test_a_command_that_cannot_be_is_refused_at_once(work, tmp_path, words, capsys):
    one, done = work
    with pytest.raises(SystemExit):
        command(one, tmp_path, *words)
    assert "error: " in capsys.readouterr().err
    assert not done


def test_kept_samples_are_drawn_once_and_repeat():
    class Drawn(list):
        seed = 0
        names = ("a", "b")

        def __getitem__(self, index):
            self.append(index)
            return index

        def __len__(self):
            return 3

    drawn = Drawn()
    kept = Kept(drawn)
    assert [kept[i] for i in (0, 3, 1, 6, 4)] == [0, 0, 1, 0, 1]
    assert list.__len__(drawn) == 2
    assert kept.names == ("a", "b")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said():
    prepare("cpu")
    with pytest.raises(RunError, match="finds no GPU"):
        prepare("cuda")
