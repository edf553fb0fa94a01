"""The rows of the papers that need torchvision's networks."""

from papers.acs.run import deeplab, fcn, proof_of_concept
from papers.stdcf.run import kinetics


def test_all_sizes_of_acs_are_exact_but_for_the_fcn():
    assert all(row.exact for row in [*proof_of_concept(), *deeplab()])
    assert [f"{row.ours:.3f}" for row in fcn()] == ["49.558", "49.558", "142.386"]


def test_the_networks_beside_stdcf_have_their_parameters():
    exact = [(row.name, row.quantity) for row in kinetics() if row.exact]
    assert exact == [("R(2+1)D, Table 3", "parameters"), ("TSM, Table 3", "parameters")]
