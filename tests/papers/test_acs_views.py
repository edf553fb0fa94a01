import json
from itertools import product
from pathlib import Path

import pytest
import torch

from lean3d.data import Shapes3D
from lean3d.ops import ACSConv3d
from papers.acs import views
from papers.acs.shape_unet import solid_unet
from papers.acs.views import CHOSEN, TINY, Slices, choose, shares, work
from papers.results import Results


def test_a_chosen_view_computes_what_acs_does_with_that_view():
    soft = solid_unet("Soft-ACS", (4, 8), 0).encoder[0][0]
    torch.nn.init.normal_(soft.views)
    kept = soft.views.argmax(1)
    choose(torch.nn.Sequential(soft))
    x = torch.randn(1, 1, 6, 7, 8)
    for view in range(3):
        split = [0, 0, 0]
        split[view] = 4
        acs = ACSConv3d(1, 4, 3, padding=1, split=tuple(split))
        acs.load_state_dict({"weight": soft.weight, "bias": soft.bias})
        ours, theirs = soft(x)[:, kept == view], acs(x)[:, kept == view]
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_choosing_twice_is_choosing_once_and_is_for_good():
    model = solid_unet("Soft-ACS", (4, 8), 0)
    for name, parameter in model.named_parameters():
        if name.endswith("views"):
            torch.nn.init.normal_(parameter)
    choose(model)
    before = {n: p.clone() for n, p in model.named_parameters()}
    choose(model)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    views = [p for n, p in model.named_parameters() if n.endswith("views")]
    assert all(not p.requires_grad and p.sum() == len(p) * CHOSEN for p in views)
    assert sum(shares(model)) == pytest.approx(1, abs=1e-3)


def test_slices_are_every_second_one():
    volumes = Shapes3D(2, 0, size=16)
    image, label = Slices(volumes)[1]
    assert image.shape == (1, 8, 16, 16)
    assert torch.equal(label, volumes[1][1][::2])
    assert torch.equal(image, volumes[1][0][:, ::2])


@pytest.mark.slow
def test_every_way_is_scored_on_every_kind_of_data(tmp_path, capsys):
    pytest.importorskip("nilearn")
    pieces = ["--tiny", "--pieces", str(tmp_path / "p"), "--runs", str(tmp_path / "r")]
    views.main([*pieces, "--seeds", "0"])
    views.main([*pieces, "--collect"])
    assert "| brain | learnt |" in capsys.readouterr().out
    entries = json.loads((tmp_path / "p/tiny/views.json").read_text())["entries"]
    assert [entry["name"] for entry in entries] == list(work(TINY).names)
    assert all(0 <= entry["dice"] <= 1 for entry in entries)
    assert (tmp_path / "p/tiny/views.png").stat().st_size > 10_000


def test_the_section_is_that_of_the_results():
    home = Path(views.__file__).parent
    whole = work(views.Scale())
    found = Results(home / "views.json", whole.settings)
    assert {(e["name"], e["seed"]) for e in found.entries} == set(product(whole.names, range(3)))
    assert whole.section(found) in (home / "README.md").read_text()
