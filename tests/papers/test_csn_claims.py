"""Claim 9: CSN regularises."""

import json
from itertools import product
from pathlib import Path

import pytest

from papers.claims import CLAIMS
from papers.csn import regularises
from papers.csn.regularises_text import differences, epochs_between
from papers.results import Results

pytest.importorskip("sklearn")
HOME = Path(regularises.__file__).parent


def finding(folder, errors):
    (folder / "csn").mkdir(exist_ok=True)
    results = Results(folder / "csn" / "regularises.json", {})
    for seed in range(3):
        for name, (train, test) in errors.items():
            entry = {"train errors": [1.0, train], "train error": 0.0, "test error": test}
            results.get(name, seed, lambda entry=entry: entry)
    return results, CLAIMS[8].find(folder)


def test_more_training_error_on_the_way_and_less_test_error_hold(tmp_path):
    errors = {"ResNet3D-50": (0.1, 0.306), "ip-CSN-50": (0.2, 0.292), "ir-CSN-50": (0.2, 0.297)}
    results, found = finding(tmp_path, errors)
    assert found.verdict == "holds"
    assert "ip-CSN-50: less test error (-1.4)" in found.parts
    assert "ip-CSN-50: more training error on the way (+5.0)" in found.parts
    apart = differences(results, "ip-CSN-50", "ResNet3D-50", "train errors")
    assert apart == pytest.approx([0.05] * 3)
    apart = differences(results, "ip-CSN-50", "ResNet3D-50", "test error")
    assert apart == pytest.approx([-0.014] * 3)


def test_less_training_error_does_not(tmp_path):
    errors = {"ResNet3D-50": (0.2, 0.306), "ip-CSN-50": (0.1, 0.31), "ir-CSN-50": (0.1, 0.297)}
    assert finding(tmp_path, errors)[1].verdict == "partly"


def test_both_depths_count(tmp_path):
    errors = {"ResNet3D-50": (0.1, 0.3), "ip-CSN-50": (0.2, 0.2)}
    errors |= {"ResNet3D-26": (0.1, 0.3), "ip-CSN-26": (0.2, 0.4)}
    found = finding(tmp_path, errors)[1]
    assert list(found.parts.values()) == [True, False, True, True]


def test_the_epochs_between_two_errors_are_counted_from_the_first_of_each():
    assert epochs_between([0.9, 0.4, 0.6, 0.3, 0.005, 0.02], 0.5, 0.01) == 3
    assert epochs_between([0.9, 0.4], 0.5, 0.01) is None


def test_the_section_is_that_of_the_results():
    work = regularises.work(regularises.Scale())
    found = Results(HOME / "regularises.json", work.settings)
    assert {(e["name"], e["seed"]) for e in found.entries} == set(product(work.names, range(3)))
    assert work.section(found) in (HOME / "README.md").read_text()


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
