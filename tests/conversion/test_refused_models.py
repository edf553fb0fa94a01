"""A refusal says the true reason, and nothing that it offers is refused next."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lean3d.conversion import ACS, ConversionError, Planar, convert
from lean3d.conversion.to3d.merged.call import FUNCTION_RULES


class Forward(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def warp(x):
    theta = torch.tensor([[0.9, 0.1, 0.1], [-0.1, 0.9, 0.0]]).to(x)
    grid = F.affine_grid(theta.expand(len(x), 2, 3), x.shape, align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


LOCAL = {
    "F.grid_sample": warp,
    "F.unfold": lambda x: F.unfold(x, 3, padding=1).mean(1).view(len(x), 1, *x.shape[2:]),
    "torch.roll": lambda x: torch.roll(x, (1, 2), (2, 3)),
    "torch.flip": lambda x: torch.flip(x, (2,)),
}


def around(module, channels=4):
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), module, nn.Conv2d(channels, 5, 1)).eval()


def network(name):
    return around(Forward(LOCAL[name]), 1 if name == "F.unfold" else 4)


def refusal(flat, how=None, **more):
    with pytest.raises(ConversionError) as refused:
        convert(flat, how or ACS(), **more)
    text = str(refused.value)
    assert len(text) <= 400
    return text


def left_out(path, module):
    return path != "1"


class Deep(nn.Module):
    """A 3D module in place of the one that was left out."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x_BCDHW):
        return F.avg_pool3d(x_BCDHW, 3, 1, 1)[:, : self.channels]


@pytest.mark.parametrize("name", LOCAL)
def test_a_function_without_a_rule_is_the_reason_and_what_is_offered_helps(name):
    flat = network(name)
    said = refusal(flat)
    assert re.search(rf"no 3D rule for {re.escape(name)} \(.*test_refused_models.py:\d+", said)
    if "accept=" in said:
        assert convert(flat, ACS(), accept="planar").conversion.grade == "planar"
    else:
        refusal(flat, accept="planar")
    assert "where=" in said
    deep = convert(flat, ACS(), where=left_out)
    deep[1] = Deep(1 if name == "F.unfold" else 4)
    assert deep(torch.randn(1, 3, 5, 6, 7)).shape == (1, 5, 5, 6, 7)


def test_the_rule_that_is_offered_is_enough(monkeypatch):
    def roll(call):
        given = call.read("input shifts dims")
        down, right = given["shifts"]
        x_BCDHW = call.volume(given["input"])
        return call.stack.merge_depth(torch.roll(x_BCDHW, (down, down, right), (2, 3, 4)))

    monkeypatch.setitem(FUNCTION_RULES, torch.roll, roll)
    assert convert(network("torch.roll"), ACS()).conversion.grade == "isotropic"


MODULES = {
    "nn.Unfold": nn.Sequential(nn.Unfold(3, padding=1), nn.Unflatten(2, (33, 29))),
    "nn.FractionalMaxPool2d": nn.FractionalMaxPool2d(2, output_ratio=0.5),
}


CASES = [("nn.Unfold", ACS(keep_depth=None)), ("nn.Unfold", Planar())]
CASES += [("nn.FractionalMaxPool2d", ACS())]


@pytest.mark.parametrize(("name", "how"), CASES, ids=str)
def test_a_module_without_a_rule_is_named_and_can_be_left_out(name, how):
    channels = 36 if name == "nn.Unfold" else 4
    flat = around(MODULES[name], channels)
    said = refusal(flat, how)
    assert f"no 3D rule for {name}; write one with lean3d.conversion.module_rule, or leave" in said
    deep = convert(flat, how, where=lambda path, module: not path.startswith("1"))
    assert "where= left" in str(deep.conversion)
    deep[1] = nn.Conv3d(4, channels, 1)
    assert deep(torch.randn(1, 3, 5, 6, 7)).shape == (1, 5, 5, 6, 7)


def test_a_model_of_one_module_is_not_told_to_leave_it_out():
    for flat in (nn.Unfold(3), nn.FractionalMaxPool2d(2, output_ratio=0.5)):
        assert "where=" not in refusal(flat)


def test_a_long_line_of_code_leaves_its_place(tmp_path, monkeypatch):
    long = "x.cumsum(2)" + " + 0 * x.cumsum(2)" * 20
    folder = tmp_path / "a_long_folder" / "of_a_user"
    folder.mkdir(parents=True)
    (folder / "users_own_net.py").write_text(f"def rows(x):\n    return {long}\n")
    monkeypatch.syspath_prepend(folder)
    from users_own_net import rows

    said = refusal(around(Forward(rows)))
    assert re.search(r"users_own_net.py:2\)", said)
