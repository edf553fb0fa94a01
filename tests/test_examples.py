"""Every example runs, is short, and prints what README says it prints."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import lean3d

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PRINTS = {
    "atoms": "True",
    "first": "(1, 4, 32, 48, 40) isotropic",
    "lean_network": "0.48 of the multiply-adds, 1 kernels cut",
    "segment_volume": "the mask has the grid of the scan: (48, 59, 50)",
    "timm_segmentation": "scores: (2, 3, 16, 64, 64) the loss fell: True",
    "stream_video": "21 frames of the first camera, (1, 27) scores each",
    "video_step": "10 frames, the same answers; the state holds 3 caches",
    "watch_video": "12 frames of left_right, each named as it came",
}


def run(path):
    command = [sys.executable, path]
    if "timm" in path.stem:  # the zoos lie apart from torch; see benchmarks/zoo.py
        code = f"import zoo, runpy; runpy.run_path({str(path)!r})"
        command = [sys.executable, "-c", f"import sys; sys.path.append('benchmarks'); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


# seconds of training, or of importing what they use
LONG = "lean_network", "segment_volume", "timm_segmentation"


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.slow] * (p.stem in LONG)) for p in EXAMPLES],
    ids=[p.stem for p in EXAMPLES],
)
def test_an_example_runs_and_is_short(path):
    assert run(path).splitlines()[0] == PRINTS[path.stem]
    assert len(path.read_text().splitlines()) <= (30 if "timm" in path.stem else 40)


def test_the_first_screen_of_readme_is_an_example_and_its_output():
    readme = (ROOT / "README.md").read_text()
    code, output = re.search(r"```python\n(.*?)```\n+```text\n(.*?)```", readme, re.S).groups()
    assert code == (ROOT / "examples" / "first.py").read_text()
    assert output == run(ROOT / "examples" / "first.py")
    assert readme[: readme.index(code)].count("\n") < 15


def test_readme_counts_the_networks_there_are():
    said = f"{len(lean3d.list_models())} networks of the five papers"
    assert said in (ROOT / "README.md").read_text()


def test_readme_lists_the_extras_of_users():
    about = (ROOT / "pyproject.toml").read_text()
    part = about.split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = set(re.findall(r"^(\w+) = ", part, re.M)) - {"docs", "peers", "dev"}
    readme = (ROOT / "README.md").read_text()
    listed = re.search(r"^Extras: (.*?)\.$", readme, re.M | re.S)[1].split()
    assert sorted(listed) == sorted(extras)
