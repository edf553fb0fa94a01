import json

import own_networks
import pytest
from cli_cases import last_json

ASK = "bench", "unet3d", "--against", "unet3d", "--conv", "acs", "--widths", 4, 6
SIZE = "--input", "1,1,8,8,8"


def test_bench_compares_two_models_and_says_why(lean3d, tmp_path):
    more = "--rounds", 2, "--layers", 2, "--channels-last", "--json", tmp_path / "bench.json"
    code, out, _ = lean3d(*ASK, *SIZE, *more)
    answer = last_json(out)
    assert code == 0
    assert [(t["model"], t["work"]) for t in answer["timings"]] == [
        ("unet3d acs", "forward"),
        ("unet3d", "forward"),
        ("unet3d acs", "training step"),
        ("unet3d", "training step"),
    ]
    assert answer["timings"][0]["gmacs"] < answer["timings"][1]["gmacs"]
    assert [layer["place"] for layer in answer["layers"]] == [1, 2, 1, 2]
    assert answer["why"] in out
    assert "MACs per byte" in out
    whole = json.loads((tmp_path / "bench.json").read_text())
    assert sum(layer["time"] for layer in whole["layers"]) == pytest.approx(200, abs=1)


NET = f"{own_networks.__file__}:Pixels"
ONCE = "--rounds", 1, "--layers", 1


@pytest.mark.parametrize("how", ["acs", "plane_cycle"])
def test_a_converted_network_is_timed_beside_the_2d_one_on_all_slices(lean3d, how):
    size, ends = ("--input", "1,3,4,6,10"), ("--convert", how, "--keep-depth", "all")
    code, out, err = lean3d("bench", NET, *ends, "--against", NET, *size, *ONCE)
    assert code == 0, err
    names = [f"{NET} {how}", f"{NET} slices"]
    assert [t["model"] for t in last_json(out)["timings"]] == 2 * names
    # a 3x3 kernel at 4 x 6 x 10 voxels, 3 to 4 and 4 to 4 channels, and a 1x1 one to 5
    macs = 4 * 6 * 10 * (9 * (3 * 4 + 4 * 4) + 4 * 5) / 1e9
    assert [t["gmacs"] for t in last_json(out)["timings"]] == 4 * [pytest.approx(macs)]


def test_a_lean_network_is_timed_beside_the_3d_one(lean3d):
    flags = "--widths", 4, 6, "--convert", "space_time"
    code, out, err = lean3d("bench", "unet3d", *flags, "--against", "unet3d", *SIZE, *ONCE)
    assert code == 0, err
    assert {t["model"] for t in last_json(out)["timings"]} == {"unet3d space_time", "unet3d"}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--against", "unet4d"], "did you mean unet3d"),
        (["--against-conv", "acs"], "got unet3d acs twice"),
        (["--rounds", 0], "are 1 or more, got 0"),
        (["--input", "1,1,8,8"], "it has 4 axes, not 5"),
        (["--device", "abacus"], "cannot compute on --device abacus"),
    ],
)
def test_bench_refuses_what_it_cannot_compare(refused, more, sentence):
    assert sentence in refused(*ASK, *SIZE, *more)
