"""The rows of the papers that need torchvision's networks."""

from pathlib import Path

import papers
from papers.acs.run import deeplab, fcn, proof_of_concept
from papers.rows import markdown
from papers.stdcf.run import convolution, kinetics, kth

FOLDER = Path(papers.__file__).parent


def test_all_sizes_of_acs_are_exact_but_for_the_fcn():
    assert all(row.exact for row in [*proof_of_concept(), *deeplab()])
    assert [f"{row.ours:.3f}" for row in fcn()] == ["49.558", "49.558", "142.386"]


def test_the_networks_beside_stdcf_have_their_parameters():
    exact = [(row.name, row.quantity) for row in kinetics() if row.exact]
    assert exact == [("R(2+1)D, Table 3", "parameters"), ("TSM, Table 3", "parameters")]


def test_the_readmes_have_the_rows_the_commands_write():
    acs = markdown([*proof_of_concept(), *fcn(), *deeplab()])
    assert acs in (FOLDER / "acs" / "README.md").read_text()
    stdcf = markdown([*convolution(), *kth(), *kinetics()])
    assert stdcf in (FOLDER / "stdcf" / "README.md").read_text()
