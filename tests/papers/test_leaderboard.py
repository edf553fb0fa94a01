import json
import re
from importlib import import_module

import pytest

from papers.claims import CLAIMS, Claim, Finding, part
from papers.leaderboard import HERE, page


def shapes(*seeds, size=48):
    """A results file with one Dice a network and seed."""
    names = ("2.5D r.", "2.5D p.", "3D r.", "ACS r.", "ACS p.", "ACS p. EO")
    return {
        "settings": {"size": size},
        "entries": [
            {"name": name, "seed": seed, "dice": dice}
            for seed, scores in enumerate(seeds)
            for name, dice in zip(names, scores, strict=False)
        ],
    }


PAPER = (0.822, 0.827, 0.946, 0.947, 0.954, 0.950)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "acs").mkdir()
    return tmp_path


def verdicts(folder, found):
    (folder / "acs" / "shapes_paper.json").write_text(json.dumps(found))
    findings = [CLAIMS[number].find(folder) for number in (1, 2)]
    return [finding and finding.verdict for finding in findings]


def test_the_papers_own_numbers_hold(folder):
    assert verdicts(folder, shapes(PAPER, PAPER, PAPER)) == ["holds", "holds"]


def test_a_claim_of_two_runs_holds_only_if_it_does_in_both(folder):
    worse = (*PAPER[:5], 0.960)
    (folder / "acs" / "shapes.json").write_text(json.dumps(shapes(*[worse] * 3, size=24)))
    assert verdicts(folder, shapes(PAPER, PAPER, PAPER)) == ["holds", "partly"]
    parts = CLAIMS[2].find(folder).parts
    assert parts["48 voxels: ACS p. > ACS p. EO (+0.4)"]
    assert not parts["24 voxels: ACS p. > ACS p. EO (-0.6)"]


def test_fewer_than_three_seeds_are_said(folder):
    assert verdicts(folder, shapes(PAPER)) == ["holds, 1 of 3 seeds"] * 2


def test_one_seed_against_it_makes_a_claim_hold_partly(folder):
    worse = (*PAPER[:4], 0.940, 0.950)
    found = verdicts(folder, shapes(PAPER, PAPER, worse))
    assert found == ["partly", "partly"]


def test_no_part_that_holds_is_said_plainly(folder):
    upside_down = (0.95, 0.95, 0.90, 0.80, 0.70, 0.75)
    assert verdicts(folder, shapes(*[upside_down] * 3)) == ["does not", "does not"]


def test_a_seed_that_is_not_finished_is_left_out(folder):
    assert verdicts(folder, shapes(PAPER, PAPER[:3])) == ["holds, 1 of 3 seeds"] * 2
    assert verdicts(folder, shapes(PAPER[:3])) == [None, None]


def of_claim(number, folder, entries):
    claim = CLAIMS[number - 1]
    (folder / claim.results).parent.mkdir(exist_ok=True)
    (folder / claim.results).write_text(json.dumps({"entries": entries}))
    return claim.find(folder)


def curves(turned, flat, seed=0):
    base = {"seed": seed, "error": [0.4] * 11}
    return [
        base | {"name": "3D", "loss": [2, *[1] * 5, *[1 + turned] * 5]},
        base | {"name": "P2SC2", "loss": [2, *[1] * 5, *[1 + flat] * 5], "error": [0.3] * 11},
    ]


def test_overfitting_is_a_loss_that_has_turned_in_one_network_and_not_in_the_other(tmp_path):
    found = of_claim(8, tmp_path, curves(0.5, 0.0) + curves(0.3, 0.04, 1) + curves(0.4, 0.0, 2))
    assert found.verdict == "holds"
    assert "3D's validation loss turns (+40 %)" in found.parts
    found = of_claim(8, tmp_path, curves(0.5, 0.4))
    assert list(found.parts.values()) == [True, False, True]


def test_networks_of_the_brain_are_compared_at_their_own_best_rate(tmp_path):
    dice = {"3D": (0.8, 0.7), "P2SC2, fewer": (0.7, 0.9), "P2SC3, fewer": (0.75, 0.79)}
    sizes = {"3D": 100, "P2SC2, fewer": 46, "P2SC3, fewer": 29}
    entries = [
        {"name": f"{name}{rate}", "seed": 0, "dice": score, "params": sizes[name]}
        for name, scores in dice.items()
        for rate, score in zip(("", ", rate 0.003"), scores, strict=True)
    ]
    found = of_claim(12, tmp_path, entries)
    assert list(found.parts.values()) == [True, False]
    assert "P2SC2, fewer filters > 3D with 46 % of its parameters (+10.0)" in found.parts


def test_a_claim_without_results_is_not_run_yet(tmp_path):
    text = page([Claim("A beats B", "X, Table 1")], tmp_path)
    assert "| 1. A beats B | X, Table 1 | not run yet |" in text
    assert text.endswith("holds: 0, partly: 0, does not: 0, not run yet: 1.")


def test_a_part_holds_only_if_it_does_in_every_seed():
    assert part("a > b", [0.02, 0.01]) == {"a > b (+1.5)": True}
    assert part("a > b", [0.05, -0.01]) == {"a > b (+2.0)": False}
    assert Finding({"x": True, "y": False}, 3).verdict == "partly"


def test_the_page_is_what_the_command_writes():
    assert page(CLAIMS, HERE) in (HERE / "README.md").read_text()


def test_the_front_page_counts_the_claims_that_hold():
    words = [claim.find().verdict for claim in CLAIMS]
    counts = [words.count(word) for word in ("holds", "partly", "does not")]
    said = "{} hold, {} partly and {} do not".format(*counts)
    assert said in (HERE.parent / "README.md").read_text()


def test_all_thirteen_claims_have_a_row():
    assert len(CLAIMS) == 13
    for claim in CLAIMS:
        assert (HERE / claim.figure).is_file()
        assert claim.find().seeds in (0, 3)


@pytest.mark.parametrize("command", sorted({claim.command.split()[0] for claim in CLAIMS}))
def test_a_command_says_what_it_measures_and_how_long_it_takes(command, capsys):
    with pytest.raises(SystemExit) as ended:
        import_module(command).main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"python -m {command}" in said
    assert "Paper:" in said
    assert re.search(r"\b(minutes?|hours?)\b", said)
