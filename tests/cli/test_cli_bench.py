import json

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
