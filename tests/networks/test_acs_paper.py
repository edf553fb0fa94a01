import pytest

from lean3d.errors import RunError
from lean3d.networks.acs_paper import acs_network, flat_network


def test_an_unknown_network_is_refused_with_the_nearest():
    with pytest.raises(RunError, match="did you mean fcn_resnet18"):
        flat_network("fcn_resnet")


def test_an_unknown_form_is_refused_with_all():
    with pytest.raises(RunError, match=r"has the form 2\.5d, 3d, i3d, acs, got '2d'"):
        acs_network("fcn_resnet18", "2d")
