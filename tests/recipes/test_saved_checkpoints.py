"""Fine-tuning from a saved 2D checkpoint beats none at equal epochs, as the docs show."""

import json
import re
import shlex
from pathlib import Path

import pytest

from lean3d.cli.main import main

PAGE = Path(__file__).parents[2] / "docs" / "your_network.md"


def commands():
    """Those that train on shapes; their figures are in the table below them."""
    lines = [line.partition("#")[0] for line in PAGE.read_text().splitlines()]
    found = [shlex.split(line)[1:] for line in lines if line.startswith("lean3d train shapes")]
    return {words[words.index("--out") + 1]: words for words in found}


def test_the_page_trains_with_the_whole_checkpoint_its_encoder_and_none():
    found = commands()
    assert list(found) == ["runs/flat", "runs/whole", "runs/encoder", "runs/none"]
    whole, encoder, none = (
        [w for w in words if not w.startswith("runs/")] for words in list(found.values())[1:]
    )
    assert [w for w in whole if w != "--weights"] == none
    assert [w for w in encoder if w not in ("--weights", "--weights-part", "encoder")] == none


@pytest.mark.slow
def test_both_beat_none_at_equal_epochs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in commands().values():
        main([*words, "--accelerator", "cpu"])
    capsys.readouterr()
    found = {}
    for name in ("whole", "encoder", "none"):
        results = json.loads((tmp_path / "runs" / name / "metrics.json").read_text())
        assert len(results["epochs"]) == 6
        found[name] = results["best_val_dice"], results["epochs"][-1]["train_loss"]
    for name in ("whole", "encoder"):
        assert found[name][0] > found["none"][0] + 0.03
        assert found[name][1] < found["none"][1] - 0.03
    # and the table has these figures, to the last digit but for another processor
    for name, (dice, loss) in found.items():
        row = re.search(rf"^\| {name}[^|]*\| ([\d.]+) \| ([\d.]+) \|$", PAGE.read_text(), re.M)
        assert dice == pytest.approx(float(row[1]), abs=0.05)
        assert loss == pytest.approx(float(row[2]), abs=0.02)
