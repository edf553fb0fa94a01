"""The last stage of an operator, fitted to outputs."""

import pytest
import torch
from torch import nn

import lean3d
from lean3d.lightening.cut import fitted
from lean3d.lightening.refit import refit

FORMS = [
    lean3d.SpaceTime("rank1", mid_channels=5),
    lean3d.ParallelSeparable(2, filters=4, relu=False),
    lean3d.ChannelSeparated("ip", group_width=2),
    lean3d.Atoms(4, 2),
    lean3d.ACS(),
    lean3d.Planar(1),
    None,
]


def conv(stride=1, **more):
    torch.manual_seed(0)
    return nn.Conv3d(4, 6, 3, stride=stride, padding=1, **more)


def inflated(stride=1, **more):
    torch.manual_seed(0)
    flat = nn.Conv2d(4, 6, 3, stride=stride, padding=1, padding_mode="reflect", **more)
    return lean3d.convert(flat, lean3d.Inflate())


@pytest.mark.parametrize("made", [conv, inflated])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "none"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("how", FORMS, ids=str)
def test_weights_that_give_the_outputs_are_found(how, stride, bias, made):
    source = made(stride, bias=bias)
    operator, given = fitted(source, how).eval(), torch.randn(2, 4, 8, 10, 10)
    with torch.no_grad():
        last = [p for n, p in operator.named_parameters() if "atoms" not in n][-1 - bias]
        wanted = operator(given) + (0.5 if bias else 0.0)
        last.add_(torch.randn_like(last))
        before = (operator(given) - wanted).norm()
        assert refit(operator, how, given, wanted)
        after = (operator(given) - wanted).norm()
    assert after < 0.05 * before


@pytest.mark.parametrize("how", FORMS[:-1], ids=str)
def test_correlated_inputs_make_a_nearer_fit(how):
    torch.manual_seed(1)
    source = conv()
    # few directions of the inputs, unlike white noise
    given = torch.einsum("oi,bidhw->bodhw", torch.randn(4, 1), torch.randn(2, 1, 8, 10, 10))
    given = nn.functional.avg_pool3d(given, 3, 1, 1)
    operator = fitted(source, how).eval()
    with torch.no_grad():
        wanted = source(given)
        before = (operator(given) - wanted).norm()
        refit(operator, how, given, wanted)
        assert (operator(given) - wanted).norm() < 0.98 * before


def test_no_change_where_it_would_not_help():
    source = conv()
    operator, given = fitted(source, None), torch.randn(2, 4, 8, 10, 10)
    kept = operator.weight.clone()
    with torch.no_grad():
        assert not refit(operator, None, given, source(given))
    assert torch.equal(operator.weight, kept)
