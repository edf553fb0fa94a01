"""Every block of code in README, CONTRIBUTING and docs runs, or is a command that could.

The blocks of a page run in order in one namespace, in an empty folder, after what SETUP makes for
the names and files that a reader has already.
"""

import contextlib
import doctest
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lean3d.cli.main import COMMANDS
from lean3d.cli.parse import parse as read_flags
from lean3d.recipes import list_recipes

HOME = Path(__file__).parents[1]
PAGES = sorted([*(HOME / "docs").rglob("*.md"), HOME / "README.md", HOME / "CONTRIBUTING.md"])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
# pages whose Python another test runs
ELSEWHERE = {
    "README.md": "test_examples.py",
    "docs/index.md": "test_docs_site.py",
    "docs/plugins.md": "test_plugins.py",
    "docs/streaming.md": "streaming/test_streaming_docs.py",
}
# pages of seconds; the others need the model zoos, other libraries or training, or register parts
FAST = {"docs/architecture.md", "docs/cost.md", "docs/data.md", "docs/training.md", "docs/video.md"}
PRELUDE = """
import torch, lean3d
import torch.nn.functional as F
from torch import nn
torch.manual_seed(0)
"""
ZOO = """
import sys
sys.path.append({benchmarks!r})
from zoo import timm, torchvision, smp
"""
SETUP = {
    "docs/architecture.md": "",
    "docs/bring_your_model.md": ZOO
    + """
import lightning.pytorch as lightning
sys.modules["lightning"] = lightning
# published weights would be fetched
resnet18 = torchvision.models.resnet18
torchvision.models.resnet18 = lambda weights=None: resnet18()
unet = smp.Unet
smp.Unet = lambda *arguments, **more: unet(*arguments, encoder_weights=None, **more)
volume = torch.randn(1, 1, 32, 64, 64)
""",
    "docs/checkpoints.md": """
csn = lean3d.create_model("ir_csn_152", num_classes=359)
torch.save(csn.state_dict(), "irCSN_152_ig65m_from_scratch_f125286141.pth")
frames_BCTHW = torch.randint(0, 256, (1, 3, 4, 8, 8), dtype=torch.uint8)
""",
    "docs/coming_from.md": ZOO
    + """
volume = torch.randn(1, 1, 32, 32, 32)
label = torch.randint(0, 2, (32, 32, 32))
prediction = torch.randint(0, 2, (32, 32, 32))
prediction_one_hot = F.one_hot(prediction, 2).movedim(-1, 0)[None]
label_one_hot = F.one_hot(label, 2).movedim(-1, 0)[None]
clip = torch.randn(1, 3, 6, 8, 8)
""",
    "docs/conversion.md": ZOO,
    "docs/evaluation.md": """
from lean3d.recipes import get_recipe
from lean3d.recipes.runs import run
from dataclasses import replace
small = dict(train_samples=2, val_samples=2, batch_size=2, epochs=1, widths=(2, 4))
for name in "mine", "other":
    run(replace(get_recipe("shapes3d"), **small), f"runs/{name}", progress=False)
""",
    "docs/data.md": """
import nibabel, numpy as np, os
os.makedirs("DIR/images"), os.makedirs("DIR/labels")
affine = np.diag([1.6, 1.6, 5, 1])
for name in "scan", "ct", "DIR/images/1":
    image = np.random.default_rng(0).normal(0, 100, (20, 18, 8)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, affine), f"{name}.nii.gz")
for name in "label", "DIR/labels/1":
    label = np.arange(20 * 18 * 8).reshape(20, 18, 8).astype(np.uint8) % 2
    nibabel.save(nibabel.Nifti1Image(label, affine), f"{name}.nii.gz")
mask = torch.zeros(8, 18, 20, dtype=torch.uint8)
""",
    "docs/lean.md": """
model = lean3d.create_model("kth_regular", num_classes=3).eval()
clip = torch.randn(1, 1, 8, 24, 24)
""",
    "docs/models.md": ZOO,
    "docs/neurons.md": """
import numpy as np
truth = np.zeros((8, 16, 16), np.int64)
truth[:, :7], truth[:, 9:] = 1, 2
affinities = np.full((3, 8, 16, 16), 0.95, np.float32)
affinities[1, :, 7:10] = 0.05
""",
    "docs/your_network.md": ZOO
    + """
import lightning, nibabel, os, numpy as np
import lean3d.data, lean3d.train.fit
# published weights would be fetched, and there are no two GPUs
create_model = timm.create_model
timm.create_model = lambda name, pretrained=False, **more: create_model(name, **more)
class Trainer:
    def __init__(self, **settings): pass
    def fit(self, *parts): pass
lightning.Trainer = Trainer
# a step in place of hours
Patches, fit_whole = lean3d.data.PatchDataset, lean3d.train.fit.fit
def few(cases, patch, per_epoch, seed): return Patches(cases, patch, 2, seed=seed)
def fit_once(*parts, epochs): return fit_whole(*parts, epochs=1, progress=False)
lean3d.data.PatchDataset, lean3d.train.fit.fit = few, fit_once
for kind in "images", "labels":
    os.makedirs(f"data/{kind}")
    for n in range(2):
        voxels = np.random.default_rng(n).integers(0, 3, (64, 64, 32)).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), f"data/{kind}/{n}.nii.gz")
volume, label = torch.randn(1, 1, 32, 64, 64), torch.randint(0, 3, (1, 1, 32, 64, 64))
""",
    "docs/training.md": """
clips = [(torch.randn(1, 1, 8, 16, 16), torch.tensor([0]))]
""",
    "docs/video.md": """
from lean3d.data import write_video
with write_video("film.mp4", 10.0) as film:
    for n in range(3):
        film.write(torch.full((48, 64, 3), 40 * n, dtype=torch.uint8), n / 10)
model = lean3d.create_model("d_resnet_18", num_classes=3).eval()
""",
}
EXTRAS = re.findall(r"^(\w+) = \[", (HOME / "pyproject.toml").read_text(), re.M)

OTHERS = {"bioimageio", "cd", "echo", "git", "dask", "hf", "srun", ".ci/run"}


def blocks(page, language):
    return [code for kind, code in BLOCK.findall(page.read_text()) if kind == language]


def name_of(page):
    return str(page.relative_to(HOME))


def with_code():
    for page in PAGES:
        name = name_of(page)
        if blocks(page, "python") and name not in ELSEWHERE:
            marks = [] if name in FAST else [pytest.mark.slow]
            yield pytest.param(page, id=name, marks=marks)


@pytest.mark.parametrize("page", list(with_code()))
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    codes = [code for code in blocks(page, "python") if not _lacks(code)]
    setup = SETUP.get(name_of(page), "").replace("{benchmarks!r}", repr(str(HOME / "benchmarks")))
    if name_of(page) in FAST:
        monkeypatch.chdir(tmp_path)
        execute(PRELUDE + setup, codes)
        return
    # in a process of its own: a page may register parts, and change modules
    script = tmp_path / "page.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(HOME / 'tests')!r})\n"
        f"from test_doc_code import execute\nexecute({PRELUDE + setup!r}, {codes!r})\n"
    )
    command = [sys.executable, script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def execute(setup, codes):
    space = {"__name__": "page"}
    exec(setup, space)
    for code in codes:
        if ">>>" not in code:
            exec(compile(code, "<page>", "exec"), space)
            continue
        example = doctest.DocTestParser().get_doctest(code, space, "page", None, 0)
        options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        runner = doctest.DocTestRunner(optionflags=options)
        runner.run(example, clear_globs=False)
        space |= example.globs
        assert not runner.failures


def _lacks(code):
    """Whether the code is of a library that is not installed here."""
    used = re.findall(r"^\s*(?:import|from) (timm_3d|acsconv|continual|monai)\b", code, re.M)
    return any(importlib.util.find_spec(name) is None for name in used)


def commands():
    for page in PAGES:
        for code in blocks(page, "bash"):
            # a line that ends with a backslash goes on in the next
            for line in code.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    yield pytest.param(words, id=f"{page.stem}: {' '.join(words)[:60]}")


@pytest.mark.parametrize("words", list(commands()))
def test_a_command_of_a_page_could_be_run(words, monkeypatch):
    first = words[0]
    if first == "pip":
        (wanted,) = words[2:]
        extras = re.findall(r"\[(.*)\]", wanted)
        assert set(",".join(extras).split(",")) - {""} <= set(EXTRAS)
    elif first == "make":
        assert re.search(rf"^{words[1]}:", (HOME / "Makefile").read_text(), re.M)
    elif "lean3d" in words:
        start = words.index("lean3d")
        _parses(words[start + 1 :], monkeypatch)
    elif words[:2] == ["python", "-c"]:
        compile(words[2], "<page>", "exec")
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]) is not None
    else:
        # programs of others
        assert first in OTHERS or first.startswith((".venv/bin/", "nnUNetv2_"))


def _parses(words, monkeypatch):
    command, *rest = [word for word in words if word != ">" and not word.startswith("~")]
    if command == "--completion" or rest in ([], ["--help"]) or rest[1:] == ["--help"]:
        assert command in (*COMMANDS, "--completion")
        return
    if command == "train":
        assert rest[0] in list_recipes()
    module = importlib.import_module(f"lean3d.cli.{command}")
    read = []

    def parse(*asked, **more):
        read.append(read_flags(*asked, **more))
        raise _ReadError

    monkeypatch.setattr(module, "parse", parse)
    with contextlib.suppress(_ReadError):
        module.main(rest)
    assert read


class _ReadError(Exception):
    pass


def test_pages_that_other_tests_run_are_named_there():
    for page, test in ELSEWHERE.items():
        assert (HOME / page).name in (HOME / "tests" / test).read_text()
