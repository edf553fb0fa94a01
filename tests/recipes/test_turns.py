"""Two-stage learning by turns through a recipe (STDCF, Algorithm 1)."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from lean3d.errors import RunError
from lean3d.ops import AtomConv3d
from lean3d.recipes import get_recipe
from lean3d.recipes.build import build_model
from lean3d.recipes.runs import load_run, run
from lean3d.recipes.task import build_task

pytest.importorskip("sklearn")

SMALL = dict(widths=(4, 4), clip=8, video=10, batch_size=4, train_samples=8, val_samples=23)
TINY = replace(get_recipe("digits_turns"), **SMALL, warmup=0, turn=1, epochs=3)


def trained(out, **changes):
    recipe = replace(TINY, **changes)
    run(recipe, out, accelerator="cpu", progress=False, resume=out.exists())
    return load_run(out, "last")[0]


def layers(model):
    return [module for module in model.modules() if isinstance(module, AtomConv3d)]


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The model after the first, the second and the third stage."""
    folder = tmp_path_factory.mktemp("turns")
    return [trained(folder / str(epochs), epochs=epochs) for epochs in (1, 2, 3)]


@pytest.mark.parametrize(("after", "moved"), [(1, "spatial"), (2, "temporal")])
def test_each_stage_moves_its_own_atoms_and_the_coefficients(stages, after, moved):
    fixed = {"spatial": "temporal", "temporal": "spatial"}[moved]
    for old, new in zip(*(layers(model) for model in stages[after - 1 : after + 1]), strict=True):
        assert torch.equal(getattr(old, f"{fixed}_atoms"), getattr(new, f"{fixed}_atoms"))
        assert not torch.equal(getattr(old, f"{moved}_atoms"), getattr(new, f"{moved}_atoms"))
        assert not torch.equal(old.coefficients, new.coefficients)


def test_the_first_stage_learns_time_from_small_frames(stages):
    fresh = build_model(TINY).model
    for old, new in zip(layers(fresh), layers(stages[0]), strict=True):
        assert torch.equal(old.spatial_atoms, new.spatial_atoms)
        assert not torch.equal(old.temporal_atoms, new.temporal_atoms)


def test_a_loaded_run_sees_whole_clips_with_all_atoms_dilated(stages):
    assert {(op.space_dilation, op.time_dilation) for op in layers(stages[2])} == {(2, 2)}


def test_training_sees_small_clips_and_validation_whole_ones(tmp_path, monkeypatch):
    seen = []
    task = build_task(TINY, build_model(TINY)[0])
    monkeypatch.setattr("lean3d.recipes.training.build_task", lambda *_: task)
    task.model.register_forward_pre_hook(
        lambda model, x: seen.append((model.training, tuple(x[0].shape[2:])))
    )
    trained(tmp_path / "run", epochs=2)
    steps = [(True, (8, 16, 16)), (False, (8, 32, 32)), (True, (4, 32, 32)), (False, (8, 32, 32))]
    assert list(dict.fromkeys(seen)) == list(dict.fromkeys(steps))
    assert [kind for kind in seen if kind[0]] == [steps[0]] * 2 + [steps[2]] * 2


def test_the_rate_begins_anew_with_every_stage():
    task = build_task(replace(TINY, turn=4), build_model(TINY)[0])
    shares = [task._share(epoch) for epoch in range(8)]
    assert shares[:4] == shares[4:] == sorted(shares[:4], reverse=True)
    assert shares[0] == 1


@pytest.mark.slow
def test_a_stopped_run_resumes_in_its_stage_to_the_same_weights(stages, tmp_path):
    trained(tmp_path / "run", epochs=1)
    again = trained(tmp_path / "run", epochs=3).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in stages[2].state_dict().items())


def test_the_steps_of_the_rate_begin_anew_with_every_stage():
    task = build_task(replace(TINY, turn=4, schedule="steps", steps=(2,)), build_model(TINY)[0])
    assert [task._share(epoch) for epoch in range(8)] == pytest.approx([1, 1, 0.1, 0.1] * 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kth_rank1", "kth_regular"])
def test_other_kernels_take_turns_too(tmp_path, name):
    fresh = build_model(replace(TINY, model=name)).model.state_dict()
    first = trained(tmp_path / "run", model=name, epochs=1)
    before = copy.deepcopy(first.state_dict())
    after = trained(tmp_path / "run", model=name, epochs=2).state_dict()
    convs = {n: m for n, m in first.named_modules() if isinstance(m, nn.Conv3d)}
    for path, conv in convs.items():
        kernel, own = f"{path}.weight", [k > 1 for k in conv.kernel_size]
        of_time, of_space = own[0], any(own[1:])
        assert torch.equal(fresh[kernel], before[kernel]) == (not of_time)
        assert torch.equal(before[kernel], after[kernel]) == (not of_space)
        assert conv.dilation == tuple(2 if wide else 1 for wide in own)


def test_what_is_frozen_stays_so_in_every_stage(tmp_path):
    frozen = dict(model="kth_rank1", freeze=("features.0",))
    fresh = build_model(replace(TINY, **frozen)).model.state_dict()
    after = trained(tmp_path / "run", epochs=2, **frozen).state_dict()
    names = [n for n in fresh if n.startswith("features.0.")]
    assert names
    assert all(torch.equal(fresh[n], after[n]) for n in names)
    assert not torch.equal(
        fresh["features.1.0.spatial.weight"], after["features.1.0.spatial.weight"]
    )


def test_kernels_without_stages_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(RunError, match="ACSConv3d cannot be dilated to train in stages"):
        trained(tmp_path / "run", model="kth_regular", conv="acs")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("field", "value"), [("turn", -1), ("shrink", 0), ("skip", 0)])
def test_refuses_values_no_stage_can_have(field, value):
    with pytest.raises(RunError, match=f"{field} must be .* or more, got {value}"):
        replace(TINY, **{field: value}).check()


def test_a_recurrent_head_takes_no_turns():
    with pytest.raises(RunError, match="turn is for runs on clips"):
        replace(get_recipe("digits_gru"), turn=1).check()
