"""A run written to be given away is a run for every command."""

import json
import os
import subprocess
import sys

import own_networks
import pytest
import torch
from cli_cases import FLAGS, last_json
from hub_server import serving

from lean3d.errors import DataError, RunError
from lean3d.recipes.load import load_run
from lean3d.recipes.share import from_hub, push_to_hub

pytest.importorskip("huggingface_hub")
pytest.importorskip("safetensors")
TRAIN = "train", "folder", "--patch", 8, 8, 8, *FLAGS
UNET = "--model", "unet2d", "--convert", "acs", "--widths", 4, 6, "--conv", "None"


@pytest.fixture
def run(lean3d, cases, tmp_path):
    code, _, err = lean3d(*TRAIN, *UNET, "--data", cases, "--out", tmp_path / "run")
    assert code == 0, err
    return tmp_path / "run"


def test_a_shared_run_predicts_and_says_what_it_is(lean3d, refused, run, cases, tmp_path):
    out = tmp_path / "given"
    code, said, err = lean3d("share", run, "--out", out, "--license", "cc-by-4.0")
    assert code == 0, err
    assert last_json(said)["out"] == str(out)
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "recipe.json",
        "model.safetensors",
    }
    shared, own = load_run(out)[0], load_run(run)[0]
    assert all(torch.equal(x, own.state_dict()[n]) for n, x in shared.state_dict().items())
    masks = [tmp_path / f"{n}.nii.gz" for n in "ab"]
    for each, mask in zip((run, out), masks, strict=True):
        image = cases / "images" / "case0.nii.gz"
        code, _, err = lean3d("predict", image, "--run", each, "--out", mask)
        assert code == 0, err
    assert masks[0].read_bytes()[10:] == masks[1].read_bytes()[10:]
    card = (out / "README.md").read_text()
    for part in ("license: cc-by-4.0", "library_name: lean3d", "`unet2d`", "ACS(", "| dice |"):
        assert part in card
    # nothing of the machine that trained is in it
    assert str(tmp_path) not in (out / "recipe.json").read_text() + card
    assert "is not an empty folder" in refused("share", run, "--out", out, "--license", "mit")


def test_the_card_says_where_the_weights_started_and_not_on_which_machine(lean3d, run, tmp_path):
    path, out = run / "recipe.json", tmp_path / "given"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"weights": f"nnunet:{tmp_path}/net.pth: 7 tensors"}))
    code, _, err = lean3d("share", run, "--out", out, "--license", "CC-BY-4.0")
    assert code == 0, err
    card = (out / "README.md").read_text()
    assert "| started from | nnunet:net.pth: 7 tensors |" in card
    assert "license: cc-by-4.0" in card  # as the Hub spells it
    assert str(tmp_path) not in card + (out / "recipe.json").read_text()
    record["recipe"] |= {"start_from": str(tmp_path / "first")}
    path.write_text(json.dumps(record))
    lean3d("share", run, "--out", tmp_path / "more", "--license", "mit")
    assert "| started from | the run first |" in (tmp_path / "more" / "README.md").read_text()


def test_damaged_weights_are_named(lean3d, run, tmp_path, refused):
    out = tmp_path / "given"
    lean3d("share", run, "--out", out, "--license", "mit")
    record = json.loads((out / "recipe.json").read_text())
    record["recipe"]["widths"] = [4, 8]
    (out / "recipe.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="written for another model than its recipe"):
        load_run(out)
    (out / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot read"):
        load_run(out)


SEND_AND_GET = """
import sys
from lean3d.cli.main import main
from lean3d.recipes.share import from_hub
code = main(["share", *sys.argv[1:]])
print("got", code, from_hub("me/net"))
"""


def test_a_shared_run_goes_to_the_hub_and_comes_back(lean3d, run, tmp_path):
    out = tmp_path / "given"
    flags = "--license", "mit", "--push", "me/net", "--private"
    words = [str(word) for word in (sys.executable, "-c", SEND_AND_GET, run, "--out", out, *flags)]
    with serving() as hub:
        there = {"HF_ENDPOINT": hub.address, "HF_TOKEN": "hf_made", "HF_HOME": str(tmp_path / "hf")}
        done = subprocess.run(words, env=os.environ | there, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        files, asked = dict(hub.files), dict(hub.asked)
    *told, got = done.stdout.splitlines()
    assert last_json("\n".join(told))["address"] == f"{hub.address}/me/net"
    assert asked["/api/models/me/net/commit/main"] == "Bearer hf_made"
    assert files == {path.name: path.read_bytes() for path in out.iterdir()}
    _, code, folder = got.split(maxsplit=2)
    assert code == "0"
    shared, own = load_run(folder)[0], load_run(run)[0]
    assert all(torch.equal(x, own.state_dict()[n]) for n, x in shared.state_dict().items())


def test_a_folder_is_used_where_it_is_and_code_is_not_run(lean3d, run, tmp_path):
    out = tmp_path / "given"
    lean3d("share", run, "--out", out, "--license", "mit")
    assert from_hub(out) == from_hub(str(out)) == out
    record = json.loads((out / "recipe.json").read_text())
    record["recipe"]["model"] = f"{own_networks.__file__}:Pixels"
    (out / "recipe.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="needs the code"):
        from_hub(out)


def test_a_push_that_fails_says_how_to_send_what_is_written(run, tmp_path, monkeypatch, lean3d):
    import huggingface_hub

    def refuses(*_, **__):
        raise OSError("no network\nmore")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuses)
    out = tmp_path / "given"
    code, _, err = lean3d("share", run, "--out", out, "--license", "mit", "--push", "me/net")
    assert code == 2
    assert err == (
        f"lean3d: cannot push {out} to me/net: no network; the folder is whole, "
        f"hf upload me/net {out} sends it\n"
    )
    assert from_hub(out) == out


def test_what_cannot_be_shared_is_one_sentence(refused, tmp_path, monkeypatch):
    ask = "share", tmp_path, "--out", tmp_path / "given", "--license", "mit"
    assert "no recipe.json" in refused(*ask)
    assert "--push is USER/NAME" in refused(*ask, "--push", "me")
    assert not (tmp_path / "given").exists()
    with pytest.raises(RunError, match="write it with save_pretrained first"):
        push_to_hub(tmp_path, "me/net")
    import huggingface_hub

    def unreachable(*_, **__):
        raise OSError("no network\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(DataError, match=r"cannot get me/net from the Hub: no network$"):
        from_hub("me/net")
