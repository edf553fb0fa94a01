from functools import partial

import pytest
import torch
from torch import nn

from lean3d.cost import count
from lean3d.models import create_model
from lean3d.ops import AtomConv3d, SpaceTimeConv3d

STAGES = partial(AtomConv3d, spatial=6, temporal=2, path="stages")


def build(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def test_all_sixteen_3x3_of_resnet50_are_made_of_atoms():
    atoms = [m for m in build("stdcf_resnet50").modules() if isinstance(m, AtomConv3d)]
    assert len(atoms) == 16
    assert {(len(m.spatial_atoms), len(m.temporal_atoms)) for m in atoms} == {(6, 2)}


def test_has_the_counts_of_the_recomputed_definition():
    cost = count(build("stdcf_resnet50", conv=STAGES), (1, 3, 8, 256, 256))
    assert cost.params == 28_119_824
    assert f"{cost.macs / 1e9:.2f}" == "52.91"


def test_atoms_are_as_good_as_free_beside_their_coefficients():
    model = build("stdcf_resnet50")
    ops = [m for m in model.modules() if isinstance(m, AtomConv3d)]
    coefficients = sum(op.coefficients.numel() for op in ops)
    assert coefficients == 12 * 1_257_472
    atoms = sum(op.spatial_atoms.numel() + op.temporal_atoms.numel() for op in ops)
    assert atoms == 16 * (6 * 9 + 2 * 3)


def test_time_is_never_strided():
    model = create_model("stdcf_resnet50", widths=(4, 4, 4, 4)).eval()
    found = []
    model.layer4.register_forward_hook(lambda module, x, y: found.append(tuple(y.shape[2:])))
    model(torch.randn(1, 3, 5, 64, 96))
    assert found == [(5, 2, 3)]


@pytest.mark.parametrize(
    ("form", "kind"), [("regular", nn.Conv3d), ("rank1", SpaceTimeConv3d), ("stdcf", AtomConv3d)]
)
def test_the_kth_network_has_three_layers_of_its_form(form, kind):
    model = build(f"kth_{form}")
    assert [type(layer[0]) for layer in model.features] == [kind] * 3


def test_the_rank_1_form_holds_the_maps_in_between_that_table_2_shows():
    shape = (16, 1, 16, 60, 80)
    held = [
        sum(
            layer.activation_bytes
            for layer in count(build(f"kth_{form}"), shape).layers
            if layer.type in ("Conv3d", "SpaceTimeConv3d")
        )
        for form in ("regular", "rank1")
    ]
    # Table 2: 582.5M and 459.7M; the last map has 7 rows for 7.5
    assert (held[1] - held[0]) / 1e6 == pytest.approx(582.5 - 459.7, abs=0.5)
