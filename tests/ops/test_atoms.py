import copy

import pytest
import torch
import torch.nn.functional as F

from lean3d.cost import count
from lean3d.ops import AtomConv3d
from lean3d.ops.reference import reference

PATHS = ("reconstruct", "stages", "coefficients")


def twins(**arguments):
    torch.manual_seed(0)
    first = AtomConv3d(4, 6, 3, **arguments, spatial=4, temporal=2, dtype=torch.float64)
    others = []
    for path in PATHS:
        twin = copy.deepcopy(first)
        twin.path = path
        others.append(twin)
    return others


PLACES = [
    dict(padding=1),
    dict(stride=2, padding=1),
    dict(groups=2),
    dict(padding_mode="reflect", padding=1),
]


@pytest.mark.parametrize("arguments", PLACES, ids=str)
def test_all_paths_agree_in_output_and_gradient(arguments):
    x = torch.randn(2, 4, 5, 6, 7, dtype=torch.float64, requires_grad=True)
    results = []
    for op in twins(**arguments):
        y = op(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, *op.parameters()])))
    for other in results[1:]:
        torch.testing.assert_close(results[0], other)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("factors", [dict(space=2), dict(time=3), dict(space=2, time=2)], ids=str)
def test_dilated_atoms_are_a_dilated_kernel_and_keep_the_output_size(path, factors):
    op = AtomConv3d(2, 3, 3, padding=1, path=path, dtype=torch.float64)
    x = torch.randn(1, 2, 7, 8, 9, dtype=torch.float64)
    before = op(x)
    dilated = op.dilate(**factors)(x)
    time, space = factors.get("time", 1), factors.get("space", 1)
    spread = (time, space, space)
    expected = F.conv3d(x, op.dense_weight(), op.bias, padding=spread, dilation=spread)
    torch.testing.assert_close(dilated, expected)
    torch.testing.assert_close(dilated, reference(op, x))
    torch.testing.assert_close(op.dilate(space=1, time=1)(x), before)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", [(1, 1, 1), (5, 3, 3), (3, 5, 7), (2, 4, 4)])
def test_swapped_atoms_of_any_size_keep_the_coefficients_and_the_output_size(path, size):
    op = AtomConv3d(2, 3, 3, padding=1, spatial=4, temporal=2, path=path, dtype=torch.float64)
    x = torch.randn(1, 2, 7, 8, 9, dtype=torch.float64)
    shape, coefficients = op(x).shape, op.coefficients
    op.swap_atoms(spatial=torch.randn(4, *size[1:]), temporal=torch.randn(2, size[0]))
    assert op.coefficients is coefficients
    assert op(x).shape == shape
    torch.testing.assert_close(op(x), reference(op, x))


def test_a_swapped_atom_is_the_one_given_and_keeps_being_frozen():
    op = AtomConv3d(2, 3, 3, spatial=2, temporal=1)
    op.spatial_atoms.requires_grad_(False)
    new = torch.randn(2, 5, 5)
    op.swap_atoms(spatial=new)
    torch.testing.assert_close(op.spatial_atoms.data, new)
    assert not op.spatial_atoms.requires_grad
    assert op.temporal_atoms.requires_grad


def test_refuses_another_number_of_atoms():
    with pytest.raises(ValueError, match="keeps its 6 atoms"):
        AtomConv3d(2, 3, 3).swap_atoms(spatial=torch.randn(5, 3, 3))


@pytest.mark.parametrize("bad", [dict(spatial=0), dict(temporal=0)])
def test_refuses_no_atoms(bad):
    with pytest.raises(ValueError, match="needs atoms of both kinds"):
        AtomConv3d(2, 3, 3, **bad)


def test_refuses_a_dilation_of_zero():
    with pytest.raises(ValueError, match="time must be at least 1"):
        AtomConv3d(2, 3, 3).dilate(time=0)


def test_nine_spatial_and_three_temporal_atoms_represent_any_kernel():
    op = AtomConv3d(2, 3, 3, spatial=9, temporal=3, dtype=torch.float64)
    target = torch.randn(3, 2, 3, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        space, time = op.spatial_atoms.flatten(1), op.temporal_atoms
        # orthonormal atoms: the coefficients are projections
        op.coefficients.copy_(torch.einsum("octp,mp,nt->ocmn", target.flatten(3), space, time))
    torch.testing.assert_close(op.dense_weight(), target)


@pytest.mark.parametrize(("channels", "spatial", "temporal"), [(64, 3, 2), (64, 6, 2), (32, 9, 3)])
def test_three_stages_cost_what_section_2_4_says(channels, spatial, temporal):
    options = dict(padding=1, bias=False, spatial=spatial, temporal=temporal, path="stages")
    op = AtomConv3d(channels, 2 * channels, 3, **options)
    cost = count(op, (1, channels, 8, 28, 28))
    joint = 2 * channels * channels * spatial * temporal
    assert cost.params == temporal * 3 + spatial * 9 + joint
    per_voxel = 2 * channels * spatial * (9 + temporal * 3 + temporal * 2 * channels)
    assert cost.flops == per_voxel * 8 * 28 * 28


def test_section_2_4_at_64_channels_in_numbers():
    op = AtomConv3d(64, 64, 3, padding=1, bias=False, spatial=3, temporal=2, path="stages")
    cost = count(op, (1, 64, 8, 28, 28))
    dense = 64 * 64 * 27
    assert cost.flops == 344_408_064
    # two ninths for many channels, in parameters; more in multiply-adds for few
    assert f"{cost.params / dense:.4f}" == "0.2225"
    wider = AtomConv3d(64, 64, 3, padding=1, bias=False, path="stages")
    assert f"{count(wider, (1, 64, 8, 28, 28)).params / dense:.4f}" == "0.4450"
    assert f"{count(wider, (1, 64, 8, 28, 28)).macs / dense / (8 * 28 * 28):.4f}" == "0.4965"
