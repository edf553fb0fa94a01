import json

import pytest
from cli_cases import last_json

ASK = "optimize", "unet3d", "--conv", "acs", "--widths", 4, 6, "--input", "1,1,8,8,8"


def test_optimize_lists_the_backends_and_names_the_fastest(lean3d, tmp_path):
    more = "--backends", "fused", "channels_last", "--json", tmp_path / "all.json"
    code, out, _ = lean3d(*ASK, *more)
    answer = last_json(out)
    assert code == 0
    assert {row["backend"] for row in answer["candidates"]} == {"eager", "fused", "channels_last"}
    assert answer["backend"] in ("fused", "channels_last")
    assert all(row["ms"] > 0 and row["error"] < 1e-4 for row in answer["candidates"])
    assert f"fastest: {answer['backend']}, input 1x1x8x8x8" in out
    assert json.loads((tmp_path / "all.json").read_text()) == answer


@pytest.mark.slow
def test_optimize_measures_the_step_of_a_stream(lean3d):
    net = "d_resnet_18", "--widths", 4, 4, 4, 4, "--options", "window=4"
    ask = "optimize", *net, "--stream", "--input", "2,3,24,32", "--device", "cpu", "--backends"
    code, out, _ = lean3d(*ask, "fused", "onednn")
    answer = last_json(out)
    assert code == 0
    assert {row["backend"] for row in answer["candidates"]} == {"eager", "fused", "onednn"}
    assert all(row["ms"] > 0 and row["error"] < 1e-4 for row in answer["candidates"])
    assert answer["input"] == [2, 3, 24, 32]
    code, out, _ = lean3d(*ask, "autocast", "--precision", "bfloat16")
    answer = last_json(out)
    assert (code, answer["backend"], answer["precision"]) == (0, "autocast", "bfloat16")
    (error,) = (row["error"] for row in answer["candidates"] if row["backend"] == "autocast")
    assert 1e-5 < error < 5e-2


@pytest.mark.usefixtures("few_bits")
def test_int8_of_a_stream_is_calibrated_on_clips(lean3d):
    net = "d_resnet_18", "--widths", 4, 4, 4, 4, "--options", "window=4"
    ask = "optimize", *net, "--stream", "--input", "2,3,24,32", "--device", "cpu"
    code, out, _ = lean3d(*ask, "--precision", "int8", "--samples", 3)
    assert code == 0
    assert "int8: calibrated on 3 inputs of noise" in out
    assert last_json(out)["backend"] == "few bits"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--stream"], "--input of a stream is a frame"),
        (["--wait"], "--wait is for --stream"),
        (["--device", "cuda:99"], "cannot compute on --device cuda:99"),
        (["--backends", "tensorrt"], "no backend called 'tensorrt'"),
        (["--backends", "eager", "--backends"], "backends names none"),
        (["--budget-s", 0], "--budget-s is seconds above 0"),
        (["--input", "1,4,8,8"], "does not run on the example"),
        (["--precision", "int4"], "int4"),
    ],
)
def test_optimize_refuses_what_it_cannot_measure(refused, more, sentence):
    assert sentence in refused(*ASK, *more)
