"""The D-ResNets and their baselines are the paper's: Tables 2 and 4 of D3D, row by row."""

import pytest
import torch

from lean3d.cost import count
from lean3d.models import create_model
from lean3d.streaming import stream
from papers.d3d.run import BASELINES, SIDE, STEP, rows

COUNTS = [
    ("d_resnet_18", dict(skip="none"), 15_937_304, 545.63),
    ("d_resnet_18", dict(skip="sum"), 15_937_304, 545.63),
    ("d_resnet_18", {}, 20_655_896, 746.76),
    ("d_resnet_50", {}, 40_808_472, 1654.00),
    ("d_resnet_101", {}, 69_827_608, 3077.21),
    ("d_resnet_18", dict(head="lstm"), 31_051_544, 757.13),
    ("d_resnet_50", dict(head="lstm"), 51_204_120, 1664.38),
    ("d_resnet_101", dict(head="lstm"), 80_223_256, 3087.59),
]
BASELINE_COUNTS = [
    ("hara_resnet_18", 33_235_280, 8322.98),
    ("hara_resnet_50", 44_242_000, 9834.59),
    ("hara_resnet_101", 83_288_144, 13663.67),
]


@pytest.mark.parametrize(("name", "options", "params", "mflops"), COUNTS)
def test_a_step_costs_what_the_paper_counts(name, options, params, mflops):
    with torch.device("meta"):
        model = create_model(name, **options)
    cost = count(model, STEP, profile="thop_fc_macs")
    assert (cost.params, round(cost.macs / 1e6, 2)) == (params, mflops)


@pytest.mark.parametrize(("name", "params", "mflops"), BASELINE_COUNTS)
def test_a_baseline_costs_what_the_paper_counts(name, params, mflops):
    with torch.device("meta"):
        cost = count(create_model(name), (1, 3, 16, SIDE, SIDE), profile="thop")
    assert (cost.params, round(cost.macs / 1e6, 2)) == (params, mflops)


@pytest.mark.parametrize(
    ("head", "kept", "aside"), [("fc", 966_656, 30_720), ("lstm", 935_936, 16_384)]
)
def test_a_stream_keeps_the_bytes_the_paper_counts(head, kept, aside):
    live = stream(create_model("d_resnet_18", head=head).eval(), check=False)
    size = live.state_bytes(height=SIDE, width=SIDE)
    assert (size.cache, size.head_state) == (kept, aside)
    assert size.conv_state == 4 * (3 * 50_176 + 2 * 25_088 + 2 * 12_544 + 8_192)
    assert size.input_state == 4 * 2 * 3 * SIDE * SIDE


@pytest.mark.slow
def test_every_printed_number_is_exact_but_the_operations_of_the_lstm():
    inexact = [(row.name, row.quantity) for row in rows() if not row.exact]
    assert inexact == [(f"d_resnet_{depth} head=lstm", "operations") for depth in BASELINES]
