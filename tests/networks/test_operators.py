from inspect import isabstract, isclass

import pytest
import torch

from lean3d import Dissect
from lean3d import conversion as conversions
from lean3d.conversion.lean.base import Lean
from lean3d.conversion.methods import METHODS
from lean3d.conversion.to3d.base import To3D
from lean3d.errors import RunError
from lean3d.networks.operators import OPERATORS, conversion, operator


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_stands_in_for_a_convolution(name):
    conv = operator(name)(4, 8, 3, padding=1)
    assert conv(torch.randn(1, 4, 5, 6, 7)).shape == (1, 8, 5, 6, 7)


def test_names_of_streams_and_depth_mean_what_they_say():
    conv = operator("p3sc2")(4, 6, 3, padding=1)
    assert (len(conv.streams), conv.depth) == (3, 2)


def test_csn_ir_is_not_csn_ip():
    assert [operator(name)(4, 4, 3).mode for name in ("csn_ir", "csn_ip")] == ["ir", "ip"]


@pytest.mark.parametrize("name", ["acs", "mean_acs", "soft_acs", "planar", "inflate", "dissect"])
def test_a_conversion_has_the_name_of_its_class(name):
    assert type(conversion(name)).__name__.lower() == name.replace("_", "")


@pytest.mark.parametrize("name", sorted(METHODS.keys() & OPERATORS.keys() - {"acs", "planar"}))
def test_a_conversion_to_an_operator_has_its_name(name):
    conv, make = torch.nn.Conv3d(4, 8, 3), OPERATORS[name]
    if hasattr(conversion(name), "build"):
        kind = getattr(make, "func", make)
        built = conversion(name).build(conv)
        assert type(built) is kind
        assert built.extra_repr() == make(4, 8, 3).extra_repr()


def test_every_public_method_has_a_name():
    public = {kind for name in conversions.__all__ if isclass(kind := getattr(conversions, name))}
    methods = {kind for kind in public if issubclass(kind, (To3D, Lean, Dissect))}
    methods = {kind for kind in methods if not isabstract(kind)}
    assert {method.kind for method in METHODS.values()} == methods


def test_an_unknown_name_suggests_the_nearest_or_lists_all():
    with pytest.raises(RunError, match="did you mean soft_acs"):
        operator("softacs")
    with pytest.raises(RunError, match=r"there are .*acs, mean_acs"):
        conversion("xyz")
