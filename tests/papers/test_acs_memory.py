import json
from pathlib import Path

import pytest
import torch
from torch import nn

from papers.acs import memory
from papers.acs.shape_unet import solid_unet


def by_form(build, shape):
    return {row["form"]: row for row in memory.measure(build, shape)}


@pytest.mark.parametrize("batch", [1, 2])
def test_acs_trains_a_unet_in_no_more_memory_than_3d(batch):
    rows = by_form(lambda form: solid_unet(form, (32, 48), 0), (batch, 1, 32, 32, 32))
    assert rows["ACS"]["peak"] <= rows["3D"]["peak"]
    # the block-sparse kernel of a layer with few outputs is kept too
    assert rows["ACS"]["kept"] <= rows["3D"]["kept"] + 0.1
    assert rows["ACS"]["parameters"] < 0.4 * rows["3D"]["parameters"]


def test_what_is_held_at_once_is_counted():
    x = torch.zeros(2**18)  # one MiB

    def step():
        first = x + 1
        second = first + 1
        del first
        return second + 1, second + 2

    assert memory.allocated_mib(step) == pytest.approx(3, abs=0.01)
    assert memory.allocated_mib(lambda: None) == 0


def test_gradients_are_counted():
    rows = by_form(lambda form: nn.Linear(512, 512), (1, 512))
    assert all(row["parameters"] == 1.0 for row in rows.values())
    assert all(row["peak"] >= 2.0 for row in rows.values())


def test_the_section_is_that_of_the_results_and_acs_is_level_with_3d():
    home = Path(memory.__file__).parent
    found = json.loads((home / "memory.json").read_text())
    assert [network["name"] for network in found["networks"]] == list(memory.NETWORKS)
    for network in found["networks"]:
        rows = {row["form"]: row for row in network["rows"]}
        assert rows["ACS"]["peak"] <= rows["3D"]["peak"]
    assert memory.section(found) in (home / "README.md").read_text()


@pytest.mark.slow
def test_the_command_counts_every_network_in_every_form(tmp_path, capsys):
    memory.main(["--tiny", str(tmp_path)])
    found = json.loads((tmp_path / "memory.json").read_text())["networks"]
    assert [network["name"] for network in found] == list(memory.NETWORKS)
    assert all(len(network["rows"]) == len(memory.FORMS) for network in found)
    assert memory.section(json.loads((tmp_path / "memory.json").read_text())) in (
        capsys.readouterr().out
    )
