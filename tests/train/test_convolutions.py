"""Trainings in bfloat16 do not go on where torch computes a convolution wrongly."""

import pytest
import torch
from killed_run import train
from torch import nn

from lean3d.errors import RunError
from lean3d.train import convolutions
from lean3d.train.convolutions import CheckConvolutions


class Module(nn.Module):
    device = torch.device("cpu")


def said(conv, x):
    """What the callback says of a step of this convolution; empty if nothing."""
    check = CheckConvolutions()
    check.on_train_batch_start(None, Module())
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(x)
    out.float().square().mean().backward()
    try:
        check.on_train_batch_end()
    except RunError as error:
        return str(error)
    return ""


# small maps are wrong on CPUs with AVX-512, by torch 2.13; which, depends on AMX
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("channels", [12, 21])
def test_what_is_wrong_on_this_machine_is_found(depth, channels):
    torch.manual_seed(0)
    conv = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
    x = torch.randn(4, channels, depth, 6, 6)
    words = said(conv, x)
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(x)
    exact = conv.weight.bfloat16().double().detach().requires_grad_()
    true = nn.functional.conv3d(x.bfloat16().double(), exact, padding=1)
    # the same slopes for both
    given = (2 * out.float() / out.numel()).bfloat16().double()
    (grad,) = torch.autograd.grad(true, exact, given)
    output_off = not (out.double() - true).norm() <= 0.1 * true.norm()
    grad_off = not (conv.weight.grad.double() - grad).norm() <= 0.1 * grad.norm()
    assert ("the output of" in words) == output_off
    assert ("gradient of the weight" in words) == (grad_off and not output_off)
    if words:
        assert f"3x3x3 with {channels} channels on maps of {depth}x6x6 wrongly" in words


@pytest.mark.parametrize(
    ("func", "says"), [("output", "the output"), ("weight", "the gradient of the weight")]
)
def test_a_run_ends_before_it_is_begun(tmp_path, monkeypatch, func, says):
    def apart(found, exact):
        return found.shape[2:] == (3, 3) if func == "weight" else found.shape[0] == 4

    monkeypatch.setattr(convolutions, "_apart", apart)
    with pytest.raises(RunError, match=f"{says} of a convolution of 3x3 with 1 channels on maps"):
        train(tmp_path, epochs=1, precision="bf16-mixed")
    assert not list(tmp_path.rglob("*.ckpt"))


def test_the_first_step_and_the_first_validation_are_checked(tmp_path, monkeypatch):
    compared = []
    monkeypatch.setattr(convolutions, "_apart", lambda *pair: compared.append(pair) and False)
    train(tmp_path, epochs=2, precision="bf16-mixed")
    # of one convolution, as the last layer is in single precision: two outputs, weight and bias
    assert len(compared) == 4


def test_single_precision_is_not_computed_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(convolutions, "_apart", lambda *_: pytest.fail("compared"))
    train(tmp_path, epochs=1)
