"""What timm does to a model works on a converted one: new heads, merged branches, frozen norms."""

import copy

import pytest
import torch
from networks import build, timm_model
from timm.utils import freeze, reparameterize_model, unfreeze
from torch import nn

from lean3d import ACS, ConversionError, Inflate, Planar, SoftACS, convert

x = torch.randn(1, 3, 32, 64, 64, generator=torch.Generator().manual_seed(0))
slow = pytest.mark.slow


@pytest.mark.parametrize(
    "name",
    [
        "resnetv2_18",
        *[
            pytest.param(name, marks=slow)
            for name in ("resnet18", "efficientnet_b0", "convnext_atto")
        ],
    ],
)
@pytest.mark.parametrize("pool", ["max", "avgmax", None])
@torch.no_grad()
def test_a_reset_classifier_is_that_of_a_model_reset_before(name, pool):
    more = {} if pool is None else dict(global_pool=pool)
    flat = build(timm_model(name))
    deep = convert(flat, ACS())
    flat.reset_classifier(7, **more)
    deep.reset_classifier(7, **more)
    deep.load_state_dict(flat.state_dict())
    torch.testing.assert_close(deep.eval()(x), convert(flat.eval(), ACS())(x))


@pytest.mark.parametrize(
    "name",
    [
        "repvgg_a0",
        *[pytest.param(n, marks=slow) for n in ("mobileone_s0", "repvit_m0_9", "fastvit_t8")],
    ],
)
@pytest.mark.parametrize(
    "how", [ACS(), *[pytest.param(how, marks=slow) for how in (Planar(), ACS(keep_depth=None))]]
)
@torch.no_grad()
def test_merged_branches_give_the_same_answer(name, how):
    deep = convert(build(timm_model(name)), how)
    expected = deep(x)
    merged = reparameterize_model(deep)
    assert len(list(merged.modules())) < len(list(deep.modules()))
    torch.testing.assert_close(merged.eval()(x), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("repghostnet_050", ACS()),
        pytest.param("repvgg_a0", Inflate(), marks=slow),
        pytest.param("repvgg_a0", SoftACS(), marks=slow),
        pytest.param("repvit_m0_9", Inflate(), marks=slow),
    ],
)
def test_branches_that_cannot_be_merged_are_refused_and_stay(name, how):
    deep = convert(build(timm_model(name)), how)
    with torch.no_grad():
        expected = deep(x)
        with pytest.raises(ConversionError, match=r"converted by \w+\(\)"):
            reparameterize_model(deep)
        torch.testing.assert_close(deep(x), expected)


@slow
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
@torch.no_grad()
def test_frozen_norms_keep_their_statistics_and_come_back(name):
    deep = convert(build(timm_model(name)), ACS())
    expected, norms = deep(x), sum(isinstance(m, nn.BatchNorm2d) for m in deep.modules())
    freeze(deep)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in deep.modules())
    before = copy.deepcopy(deep.state_dict())
    deep.train()(x)
    assert all(map(torch.equal, before.values(), deep.state_dict().values()))
    torch.testing.assert_close(deep.eval()(x), expected, rtol=1e-3, atol=1e-5)
    unfreeze(deep)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in deep.modules()) == norms
    torch.testing.assert_close(deep.eval()(x), expected, rtol=1e-3, atol=1e-5)
