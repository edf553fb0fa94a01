import json

import pytest
import torch
from torch import nn

from lean3d.ops import ACSConv3d, MeanACSConv3d, PlanarConv3d, SoftACSConv3d
from papers.acs import costs

SIZES = (3, 24, 3)
FORMS = {
    "ACS": ACSConv3d,
    "Mean-ACS": MeanACSConv3d,
    "Soft-ACS": SoftACSConv3d,
    "3D": nn.Conv3d,
    "2.5D": PlanarConv3d,
}


@pytest.fixture(scope="module")
def found():
    """Two layers in each form."""

    def build(conv):
        return nn.Sequential(conv(*SIZES, padding=1), nn.ReLU(), conv(24, 2, 3, padding=1))

    networks = {name: (lambda conv=conv: build(conv)) for name, conv in FORMS.items()}
    return costs.measure(networks, (1, 3, 12, 12, 12), 1)


def test_acs_has_the_parameters_and_multiply_adds_of_2_5d_and_3d_three_times_as_many(found):
    rows = {row["form"]: row for row in found["rows"]}
    assert rows["ACS"]["params"] == rows["Mean-ACS"]["params"] == rows["2.5D"]["params"]
    assert rows["ACS"]["macs"] == rows["2.5D"]["macs"]
    assert rows["3D"]["macs"] == rows["Mean-ACS"]["macs"] == 3 * rows["2.5D"]["macs"]
    assert rows["2.5D"]["time ratio"] == 1


def test_what_is_kept_for_the_backward_pass_is_counted_once_and_without_weights():
    model = nn.Sequential(nn.Linear(8, 256), nn.ReLU(), nn.Linear(256, 8))
    # the activation's result is kept by itself and by the layer that reads it: one storage
    assert costs.saved_mib(model, torch.randn(1024, 8)) == 1.0


def test_the_table_and_the_figure_have_the_papers_ratios(found, tmp_path):
    text = costs.section(found)
    assert "| ACS |" in text
    assert "1.67x" in text  # 0.95 s by 0.57 s
    costs.draw(found, tmp_path / "costs")
    assert (tmp_path / "costs.png").stat().st_size > 5_000


@pytest.mark.slow
def test_the_command_times_and_draws_every_form(tmp_path, capsys):
    costs.main(["--tiny", str(tmp_path)])
    assert "| Soft-ACS |" in capsys.readouterr().out
    rows = json.loads((tmp_path / "costs.json").read_text())["rows"]
    assert [row["form"] for row in rows] == list(costs.NETWORKS)
    assert all(row["ms"] > 0 for row in rows)
    assert (tmp_path / "costs.png").stat().st_size > 5_000
