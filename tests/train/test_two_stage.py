import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lean3d.errors import RunError
from lean3d.models import create_model
from lean3d.ops import ACSConv3d, AtomConv3d
from lean3d.train.two_stage import two_stage, whole

CLIP = (2, 1, 8, 16, 20)


def atoms(model, kind):
    return [getattr(m, f"{kind}_atoms") for m in model.modules() if isinstance(m, AtomConv3d)]


def test_stages_take_turns():
    assert [stage.name for stage in two_stage(3)] == ["time", "space"] * 3


def test_a_stage_halves_space_or_time_and_the_whole_neither():
    time, space = two_stage(1)
    x = torch.randn(CLIP)
    assert time.clip(x).shape == (2, 1, 8, 8, 10)
    assert space.clip(x).shape == (2, 1, 4, 16, 20)
    torch.testing.assert_close(whole().clip(x), x)
    torch.testing.assert_close(space.clip(x), x[:, :, ::2])
    torch.testing.assert_close(time.clip(x)[0, 0, 3, 0, 0], x[0, 0, 3, :2, :2].mean())


@pytest.mark.parametrize(
    ("index", "fixed", "moved"), [(0, "spatial", "temporal"), (1, "temporal", "spatial")]
)
def test_a_stage_trains_its_own_atoms_and_the_coefficients(index, fixed, moved):
    torch.manual_seed(0)
    model = create_model("kth_stdcf", widths=(4, 4))
    stage = list(two_stage(1))[index]
    stage.enter(model)
    before = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(CLIP), torch.tensor([0, 1])
    F.cross_entropy(model(stage.clip(x)), y).backward()
    optimizer.step()
    for old, new in zip(atoms(before, fixed), atoms(model, fixed), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0)
    for old, new in zip(atoms(before, moved), atoms(model, moved), strict=True):
        assert not torch.equal(old, new)
    assert not torch.equal(before.features[0][0].coefficients, model.features[0][0].coefficients)


def test_atoms_span_on_the_whole_what_they_spanned_in_their_stage():
    torch.manual_seed(0)
    op = AtomConv3d(1, 3, 3, padding=1, bias=False)
    x = torch.randn(CLIP)
    _, space = two_stage(1)
    few = space.enter(op)(space.clip(x))
    # every second frame of the dilated answer is the answer on every second frame
    torch.testing.assert_close(whole().enter(op)(x)[:, :, ::2], few)


def test_dilations_are_those_of_section_2_3():
    model = create_model("kth_stdcf", widths=(4,))
    op = model.features[0][0]
    found = []
    for stage in [*two_stage(1, space=3, time=2), whole(space=3, time=2)]:
        stage.enter(model)
        found.append((op.space_dilation, op.time_dilation))
    assert found == [(1, 2), (3, 1), (3, 2)]
    assert all(parameter.requires_grad for parameter in model.parameters())


def moved(name, index):
    """The parameters that a step of a stage changes, and all, by name."""
    torch.manual_seed(0)
    model = create_model(name, widths=(4, 4))
    stage = list(two_stage(1))[index]
    stage.enter(model)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(model(stage.clip(torch.randn(CLIP))), torch.tensor([0, 1])).backward()
    optimizer.step()
    names = [name for name, _ in model.named_parameters()]
    return {n for n in names if not torch.equal(before[n], model.state_dict()[n])}, set(names)


@pytest.mark.parametrize(("index", "own"), [(0, "temporal"), (1, "spatial")])
def test_a_stage_trains_the_kernels_of_rank_1_of_its_own_axis(index, own):
    changed, every = moved("kth_rank1", index)
    other = {"temporal": "spatial", "spatial": "temporal"}[own]
    assert changed == {n for n in every if f".{other}." not in n}
    assert any(f".{own}." in n for n in changed)


@pytest.mark.parametrize("index", [0, 1])
def test_every_stage_trains_regular_kernels(index):
    changed, every = moved("kth_regular", index)
    assert changed == every


@pytest.mark.parametrize("name", ["kth_regular", "kth_rank1"])
def test_kernels_span_on_the_whole_what_they_spanned_in_their_stage(name):
    torch.manual_seed(0)
    op = create_model(name, widths=(3,)).features[0][0]
    x = torch.randn(CLIP)
    time, space = two_stage(1)
    few = space.enter(op)(space.clip(x))
    torch.testing.assert_close(whole().enter(op)(x)[:, :, ::2], few)
    # a frame of pixels two by two is the small frame enlarged
    big = x.repeat_interleave(2, 3).repeat_interleave(2, 4)
    small = time.enter(op)(time.clip(big))
    torch.testing.assert_close(whole().enter(op)(big)[:, :, :, ::2, ::2], small)


def test_dilated_kernels_are_those_of_section_2_3_and_their_output_keeps_its_size():
    model = create_model("kth_rank1", widths=(4,))
    op, found = model.features[0][0], []
    size = op(torch.randn(CLIP)).shape
    for stage in [*two_stage(1, space=3, time=2), whole(space=3, time=2)]:
        stage.enter(model)
        assert op(torch.randn(CLIP)).shape == size
        found.append((op.spatial.dilation, op.temporal.dilation))
    assert found == [
        ((1, 1, 1), (2, 1, 1)),
        ((1, 3, 3), (1, 1, 1)),
        ((1, 3, 3), (2, 1, 1)),
    ]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_network_without_3d_kernels_is_refused():
    with pytest.raises(RunError, match="Sequential has no 3D kernel to train in stages"):
        whole().enter(nn.Sequential(nn.Conv3d(1, 1, 1), nn.Conv2d(1, 1, 3)))


def test_kernels_that_cannot_be_dilated_are_refused():
    with pytest.raises(RunError, match="ACSConv3d cannot be dilated to train in stages"):
        whole().enter(create_model("kth_regular", conv=ACSConv3d, widths=(4, 4)))
    with pytest.raises(RunError, match="cannot train in stages: dilate: a kernel of 2 x 2 x 2"):
        whole().enter(nn.Conv3d(1, 1, 2))


def test_no_stage_at_all_is_refused():
    with pytest.raises(RunError, match="counts from 1, got 0 iterations"):
        list(two_stage(0))
