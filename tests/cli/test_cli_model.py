import torch
from cli_cases import last_json

from lean3d.convert import ACS, convert
from lean3d.models import create_model

SMALL = "--widths", "4", "6"


def test_count_gives_the_published_sizes(lean3d):
    for conv, params in ("acs", 389_286), ("conv3d", 1_164_582):
        code, out, _ = lean3d(
            "count", "--model", "unet3d", "--conv", conv, "--shape", 1, 1, 8, 8, 8
        )
        answer = last_json(out)
        assert (code, answer["params"]) == (0, params)
        assert answer["flops"] == 2 * answer["macs"]
        assert f"{params:,} parameters" in out


def test_count_passes_its_flags_on(lean3d):
    base = ["count", "--model", "unet3d", *SMALL, "--shape", 1, 2, 8, 8, 8]
    plain = last_json(lean3d(*base)[1])
    for more in (["--profile", "thop"], ["--num-classes", 9], ["--options", "convs=1"]):
        assert last_json(lean3d(*base, *more)[1])["macs"] != plain["macs"]


def test_count_refuses_what_it_cannot_build(refused):
    shape = "--shape", 1, 1, 8, 8, 8
    assert "did you mean" in refused("count", "--model", "unet4d", *shape)
    assert "did you mean acs" in refused("count", "--model", "unet3d", "--conv", "asc", *shape)
    assert "cannot build unet3d" in refused("count", "--model", "unet3d", "--widths", 1, *shape)
    assert "cannot build" in refused("count", "--model", "unet3d", "--options", "depth=3", *shape)


def test_convert_writes_weights_that_the_3d_model_takes(lean3d, tmp_path):
    flat = create_model("unet2d", widths=(4, 6))
    torch.save(flat.state_dict(), tmp_path / "flat.pt")
    files = "--weights", tmp_path / "flat.pt", "--out", tmp_path / "deep.pt"
    code, out, _ = lean3d("convert", "--model", "unet2d", *SMALL, "--how", "acs", *files)
    answer = last_json(out)
    assert (code, answer["grade"]) == (0, "isotropic")
    assert "ACSConv3d" in out
    written = torch.load(tmp_path / "deep.pt", weights_only=True)
    deep = convert(flat, ACS())
    assert all(torch.equal(value, written[name]) for name, value in deep.state_dict().items())


def test_convert_refuses_weights_that_do_not_fit(refused, tmp_path):
    path = tmp_path / "other.pt"
    torch.save(create_model("unet2d", widths=(4, 8)).state_dict(), path)
    ask = "convert", "--model", "unet2d", *SMALL, "--how", "acs"
    assert "does not fit" in refused(*ask, "--weights", path)
    torch.save(torch.zeros(3), path)
    assert "state_dict was expected" in refused(*ask, "--weights", path)
    path.write_bytes(b"nothing")
    assert "cannot read weights" in refused(*ask, "--weights", path)


def test_convert_suggests_the_nearest_way(refused):
    assert "did you mean inflate" in refused("convert", "--model", "unet2d", "--how", "inflat")


def test_convert_leaves_nothing_half_written_on_a_full_disk(refused, tmp_path, full_disk):
    out = tmp_path / "deep.pt"
    out.write_text("what was here")
    err = refused("convert", "--model", "unet2d", "--widths", 16, 32, "--how", "acs", "--out", out)
    assert "File too large" in err
    assert [p.read_text() for p in tmp_path.iterdir()] == ["what was here"]
