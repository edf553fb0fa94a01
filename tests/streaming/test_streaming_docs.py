import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "streaming.md"


def test_every_example_of_the_page_runs(capsys):
    examples = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S)
    for code in examples:
        exec(compile(code, str(DOCS), "exec"), {})
    assert capsys.readouterr().out.splitlines() == ["(1, 27) 0 26", "48 8 True"]
