import pytest
import torch
from cli_cases import last_json

from lean3d.models import create_model


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    model = create_model("mc3_18", num_classes=5)
    named = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": named}, tmp_path / "mc3.pth")
    return tmp_path / "mc3.pth"


def test_load_says_what_a_file_is_and_writes_it_under_our_names(lean3d, file, tmp_path):
    code, out, _ = lean3d("load", file, "--out", tmp_path / "own.pt")
    answer = last_json(out)
    assert (code, answer["model"], answer["arguments"]) == (0, "mc3_18", {"num_classes": 5})
    assert (answer["format"], answer["preprocessing"]["size"]) == ("torchvision", 112)
    assert 'build: create_model("mc3_18", num_classes=5)' in out
    written = torch.load(tmp_path / "own.pt", weights_only=True)
    create_model("mc3_18", num_classes=5).load_state_dict(written)


def test_load_refuses_what_it_cannot_recognise(refused, tmp_path):
    torch.save({"weight": torch.ones(3)}, tmp_path / "x.pt")
    assert "does not say which network it belongs to" in refused("load", tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes(b"nothing")
    assert "the file is damaged" in refused("load", tmp_path / "x.pt")
