from pathlib import Path

from cli_cases import last_json

from lean3d.cli.main import main
from lean3d.models import list_models

DOCS = Path(__file__).parents[2] / "docs" / "models.md"


def test_lists_by_pattern_for_people_and_programs(capsys):
    assert main(["models", "ir_csn_5*"]) == 0
    out = capsys.readouterr().out
    assert "ir_csn_50  Interaction-reduced CSN of" in out
    assert [row["name"] for row in last_json(out)] == ["ir_csn_50"]
    assert last_json(out)[0]["input"] == "3x8x224x224"


def test_a_pattern_without_models_is_an_error(capsys):
    assert main(["models", "nothing*"]) == 2
    assert "no model is called like 'nothing*'" in capsys.readouterr().err


def test_the_docs_are_what_the_command_writes(tmp_path, capsys):
    copy = tmp_path / "models.md"
    copy.write_text(DOCS.read_text())
    assert main(["models", "--out", str(copy)]) == 0
    assert len(last_json(capsys.readouterr().out)) == len(list_models())
    assert copy.read_text() == DOCS.read_text(), "run: lean3d models --out docs/models.md"
