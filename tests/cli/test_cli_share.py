"""A run written to be given away is a run for every command."""

import json

import own_networks
import pytest
import torch
from cli_cases import FLAGS, last_json

from lean3d.errors import DataError, RunError
from lean3d.recipes.load import load_run
from lean3d.recipes.share import from_hub, push_to_hub

pytest.importorskip("huggingface_hub")
pytest.importorskip("safetensors")
TRAIN = "train", "folder", "--patch", 8, 8, 8, *FLAGS
UNET = "--model", "unet2d", "--convert", "acs", "--widths", 4, 6, "--conv", "None"

HUB = "https://hub.example.org"


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


def test_a_shared_run_goes_to_the_hub_and_comes_back(lean3d, run, tmp_path, monkeypatch):
    import huggingface_hub

    sent = {}

    class Api:
        def create_repo(self, repo_id, private, exist_ok):
            sent["repo"] = repo_id, private
            # of the Hub that HF_ENDPOINT names
            return huggingface_hub.RepoUrl(f"{HUB}/{repo_id}", endpoint=HUB)

        def upload_folder(self, repo_id, folder_path, allow_patterns):
            sent["files"] = {p.name for p in folder_path.iterdir()} & set(allow_patterns)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    out = tmp_path / "given"
    flags = "--license", "mit", "--push", "me/net", "--private"
    code, said, err = lean3d("share", run, "--out", out, *flags)
    assert code == 0, err
    assert last_json(said)["address"] == f"{HUB}/me/net"
    assert sent["repo"] == ("me/net", True)
    assert sent["files"] == {"README.md", "recipe.json", "model.safetensors"}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(out))
    assert from_hub("me/net") == out
    monkeypatch.delattr(huggingface_hub, "snapshot_download")
    # a folder is used where it is
    assert from_hub(out) == from_hub(str(out)) == out
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(out))
    record = json.loads((out / "recipe.json").read_text())
    record["recipe"]["model"] = f"{own_networks.__file__}:Pixels"
    (out / "recipe.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="needs the code"):
        from_hub("me/net")


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
