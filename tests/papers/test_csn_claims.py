"""Claim 9: CSN regularises."""

import json

import pytest

from papers.claims import CLAIMS
from papers.csn import regularises
from papers.csn.regularises_text import differences
from papers.results import Results

pytest.importorskip("sklearn")


def finding(folder, errors):
    (folder / "csn").mkdir(exist_ok=True)
    results = Results(folder / "csn" / "regularises.json", {})
    for seed in range(3):
        for name, (train, test) in errors.items():
            entry = {"train error": train, "test error": test}
            results.get(name, seed, lambda entry=entry: entry)
    return results, CLAIMS[8].find(folder)


def test_more_training_and_less_test_error_hold(tmp_path):
    errors = {"ResNet3D-50": (0.1, 0.306), "ip-CSN-50": (0.2, 0.292), "ir-CSN-50": (0.2, 0.297)}
    results, found = finding(tmp_path, errors)
    assert found.verdict == "holds"
    assert "ip-CSN-50: lower test error (-1.4)" in found.parts
    apart = differences(results, "ip-CSN-50", "ResNet3D-50", "train error")
    assert apart == pytest.approx([0.1] * 3)


def test_less_training_error_does_not(tmp_path):
    errors = {"ResNet3D-50": (0.2, 0.306), "ip-CSN-50": (0.1, 0.31), "ir-CSN-50": (0.1, 0.297)}
    assert finding(tmp_path, errors)[1].verdict == "partly"


@pytest.mark.slow
def test_every_network_has_its_errors(tmp_path, capsys):
    pieces = ["--tiny", "--pieces", str(tmp_path / "p"), "--runs", str(tmp_path / "r")]
    regularises.main([*pieces, "--seeds", "0"])
    regularises.main([*pieces, "--collect"])
    assert "| ip-CSN-50 - ResNet3D-50 |" in capsys.readouterr().out
    found = json.loads((tmp_path / "p/tiny/regularises.json").read_text())["entries"]
    assert [entry["name"] for entry in found] == list(regularises.NAMES)
    for entry in found:
        assert entry["train errors"][-1] == entry["train error"]
        assert list(entry["test errors"].values())[-1] == entry["test error"]
    assert (tmp_path / "p/tiny/regularises.png").stat().st_size > 10_000
