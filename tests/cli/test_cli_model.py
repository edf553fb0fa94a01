import csv
import json

import pytest
import torch
from cli_cases import last_json

from lean3d.conversion import ACS, convert
from lean3d.cost import count
from lean3d.models import create_model, find_model

SMALL = "--widths", "4", "6"


def test_count_gives_the_published_sizes(lean3d):
    for conv, params in ("acs", 389_286), ("conv3d", 1_164_582):
        code, out, _ = lean3d("count", "unet3d", "--conv", conv, "--input", "1,1,8,8,8")
        answer = last_json(out)
        assert (code, answer["params"]) == (0, params)
        assert answer["flops"] == 2 * answer["macs"]
        assert f"{params:,} parameters" in out


def test_the_input_is_what_the_paper_feeds_the_model_if_not_given(lean3d):
    answer = last_json(lean3d("count", "unet3d", *SMALL)[1])
    assert answer["input_shapes"] == [list(find_model("unet3d").input_shape)]


def test_count_says_what_training_holds(lean3d):
    _, out, _ = lean3d("count", "unet3d", *SMALL, "--input", "1,1,8,8,8")
    answer = last_json(out)
    assert answer["training_peak_bytes"] > answer["peak_activation_bytes"]
    assert "for everything in training" in out


def test_count_passes_its_flags_on(lean3d):
    base = ["count", "unet3d", *SMALL, "--input", "1,2,8,8,8"]
    plain = last_json(lean3d(*base)[1])
    for more in (["--profile", "thop"], ["--num-classes", 9], ["--options", "convs=1"]):
        assert last_json(lean3d(*base, *more)[1])["macs"] != plain["macs"]


def test_count_writes_the_stages_as_csv_and_json(lean3d, tmp_path):
    files = "--csv", tmp_path / "cost.csv", "--json", tmp_path / "cost.json"
    asked = "count", "unet3d", *SMALL, "--input", "1,1,8,8,8", "--stages", 1, *files
    code, out, _ = lean3d(*asked)
    rows = list(csv.DictReader((tmp_path / "cost.csv").read_text().splitlines()))
    whole = json.loads((tmp_path / "cost.json").read_text())
    assert code == 0
    stages = count(create_model("unet3d", widths=(4, 6)), (1, 1, 8, 8, 8)).stages()
    assert [row["path"] for row in rows] == [stage.path for stage in stages]
    assert [layer["path"] for layer in whole["layers"]] == [row["path"] for row in rows]
    assert {**last_json(out), "layers": whole["layers"]} == whole
    assert out.splitlines()[2].startswith("encoder ")


def test_count_adds_what_a_stream_keeps(lean3d):
    small = "--widths", 4, 4, 4, 4, "--input", "2,3,3,32,40", "--stream"
    code, out, _ = lean3d("count", "d_resnet_18", *small)
    state = last_json(out)["state_bytes"]
    assert (code, state["input"]) == (0, 2 * 2 * 3 * 32 * 40 * 4)
    assert state["total"] >= state["maps"] + state["head"] + state["input"] > state["input"]
    assert f"a stream keeps {state['total']:,} bytes" in out


def test_count_names_the_layer_that_keeps_a_model_from_streaming(refused):
    asked = "count", "mc3_18", "--widths", 4, 4, 4, 4, "--input", "1,3,4,32,32", "--stream"
    assert "stem.0 (Conv3d) looks ahead" in refused(*asked)


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ("1,1,8,x,8", "H is 'x', not a positive number"),
        ("1,0,8,8,8", "C is '0', not a positive number"),
        ("1,1,8,8,8,-1", "axis 5 is '-1'"),
        ("1,1,8,8", "it has 4 axes, not 5; add depth"),
    ],
)
def test_a_wrong_input_names_the_axis(refused, sizes, sentence):
    assert sentence in refused("count", "unet3d", "--widths", 4, 4, "--input", sizes)


def test_count_refuses_what_it_cannot_build(refused):
    shape = "--input", "1,1,8,8,8"
    assert "did you mean" in refused("count", "unet4d", *shape)
    assert "did you mean acs" in refused("count", "unet3d", "--conv", "asc", *shape)
    assert "UNet needs two widths" in refused("count", "unet3d", "--widths", 1, *shape)
    assert "does not take depth" in refused("count", "unet3d", "--options", "depth=3", *shape)
    assert "--stages takes the first names" in refused("count", "unet3d", *shape, "--stages", 0)


def test_convert_writes_weights_that_the_3d_model_takes(lean3d, tmp_path):
    flat = create_model("unet2d", widths=(4, 6))
    torch.save(flat.state_dict(), tmp_path / "flat.pt")
    files = "--weights", tmp_path / "flat.pt", "--out", tmp_path / "deep.pt"
    code, out, _ = lean3d("convert", "unet2d", *SMALL, "--how", "acs", *files)
    answer = last_json(out)
    assert (code, answer["grade"]) == (0, "isotropic")
    assert "ACSConv3d" in out
    written = torch.load(tmp_path / "deep.pt", weights_only=True)
    deep = convert(flat, ACS())
    assert all(torch.equal(value, written[name]) for name, value in deep.state_dict().items())


def test_convert_changes_the_ends_of_the_model(lean3d, tmp_path):
    ends = "--volume-channels", 3, "--volume-classes", 2, "--out", tmp_path / "deep.pt"
    code, out, _ = lean3d("convert", "unet2d", *SMALL, "--how", "acs", *ends)
    assert code == 0
    assert len(last_json(out)["ends"]) == 2
    written = torch.load(tmp_path / "deep.pt", weights_only=True)
    assert written["encoder.0.0.weight"].shape[1] == 3
    assert written["head.weight"].shape[0] == 2


def test_convert_refuses_weights_that_do_not_fit(refused, tmp_path):
    path = tmp_path / "other.pt"
    torch.save(create_model("unet2d", widths=(4, 8)).state_dict(), path)
    ask = "convert", "unet2d", *SMALL, "--how", "acs"
    assert "does not fit" in refused(*ask, "--weights", path)
    torch.save(torch.zeros(3), path)
    assert "state_dict was expected" in refused(*ask, "--weights", path)
    path.write_bytes(b"nothing")
    assert "cannot read" in refused(*ask, "--weights", path)


def test_convert_makes_a_3d_model_lean_within_a_budget(lean3d):
    base = "convert", "unet3d", "--widths", 8, 12, "--how", "rank1", "--input", "1,1,8,8,8"
    code, out, _ = lean3d(*base, "--budget", 0.5)
    answer = last_json(out)
    assert (code, answer["grade"]) == (0, "fitted")
    dense = last_json(lean3d("count", "unet3d", "--widths", 8, 12)[1])["params"]
    assert answer["parameters"] < dense
    assert all(0 < row["exact"] < 1 for row in answer["changed"])
    assert len(last_json(lean3d(*base)[1])["changed"]) >= len(answer["changed"])


def test_convert_suggests_the_nearest_way(refused):
    assert "did you mean inflate" in refused("convert", "unet2d", "--how", "inflat")


def test_convert_leaves_nothing_half_written_on_a_full_disk(refused, tmp_path, full_disk):
    out = tmp_path / "deep.pt"
    out.write_text("what was here")
    err = refused("convert", "unet2d", "--widths", 16, 32, "--how", "acs", "--out", out)
    assert "File too large" in err
    assert [p.read_text() for p in tmp_path.iterdir()] == ["what was here"]


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["count", "unet3d", "--input", "1,1,99999999999999999999,8,8"], "at most 12 digits"),
        (["count", "unet3d", "--input", f"1,1,{'9' * 5000},8,8"], "at most 12 digits"),
        (["count", "unet3d", "--input", "1,1,4294967296,4294967296,4294967296"], "2^40"),
        (["count", "d_resnet_18", "--widths"], "widths is 1 to 100 whole numbers"),
        (["count", "unet3d", "--options", "convs=NaN"], "a finite number"),
        (
            ["bench", "d_resnet_18", "--against", "hara_resnet_18", "--input", "1,3,8,90000,90000"],
            "an input of 1 x 3 x 8 x 90000 x 90000 takes 724.2 GiB",
        ),
        (["bench", "unet3d", "--against", "unet2d", "--rounds", 10**9], "--rounds is a number 1"),
        (["convert", "unet2d", "--how", "acs", "--input", "1,1,900000,900000"], "takes 2.9 TiB"),
        (["convert", "unet2d", "--how", "acs", "--in-channels", 10**9], "--in-channels is"),
        (["convert", "unet2d", "--how", "acs", "--volume-classes", 0], "--volume-classes is"),
        (["convert", "unet3d", "--how", "rank1", "--budget", "inf"], "--budget is a number above"),
        (["convert", "unet3d", "--how", "rank1", "--budget", "nan"], "--budget is a number above"),
        (["export", "d_resnet_18", "--size", 100000], "--size is a number 1 or more and at most"),
        (["stream", "d_resnet_18", "x", "--fps", "nan"], "--fps is a number above 0"),
        (["stream", "d_resnet_18", "x", "--fps", "inf"], "--fps is a number above 0"),
        (["stream", "d_resnet_18", "x", "--queue", 10**12], "--queue is a number above 0"),
        (["stream", "d_resnet_18", "-", "--raw", "100000x100000"], "at most 134,217,728 pixels"),
        (["stream", "d_resnet_18", "-", "--raw", "4x4@0.0"], "WIDTHxHEIGHT"),
        (["stream", "d_resnet_18", "-", "--raw", "4x4@99999"], "the rate of raw frames"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_anything_is_allocated(refused, argv, sentence):
    assert sentence in refused(*argv)


def test_convert_accepts_a_lower_grade_by_choice(lean3d, refused, tmp_path):
    text = """
from torch import nn


def fixed() -> nn.Module:
    head = nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(196, 3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), *head)
"""
    (tmp_path / "fixed.py").write_text(text)
    reference = f"{tmp_path / 'fixed.py'}:fixed"
    ask = "convert", reference, "--how", "acs"
    assert "Flatten" in refused(*ask)
    code, out, err = lean3d(*ask, "--accept", "planar")
    assert code == 0, err
    assert last_json(out)["grade"] == "planar"
    code, out, err = lean3d(*ask, "--accept", "unchecked")
    assert code == 0, err
    assert last_json(out)["grade"] == "unchecked"
    assert "grades conversions from 2D" in refused(
        "convert", "unet3d", "--how", "space_time", "--accept", "planar"
    )
