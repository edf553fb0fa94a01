"""A package that is installed beside lean3d adds parts to it; none of lean3d's files knows it.

The package is the code of docs/plugins.md.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import lean3d
from lean3d.plugins import Registry

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"
SOURCE = Path(lean3d.__file__).parents[1]


def install(folder, name, code):
    """Lay a package out as pip does."""
    info = folder / f"lean3d_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lean3d-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lean3d.plugins]\n{name} = lean3d_{name}\n")
    (folder / f"lean3d_{name}.py").write_text(code)
    return folder


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    return install(tmp_path_factory.mktemp("site"), "mine", "\n".join(blocks))


def run(code, *paths):
    """Run a program in a new process, with some folders on its path."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (SOURCE, *paths)))}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def output(code, *paths):
    done = run(code, *paths)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_recipe_of_a_plugin_is_listed_and_trained(plugin, tmp_path):
    small = ["--widths", "4", "8", "--train-samples", "2", "--val-samples", "1", "--epochs", "1"]
    code = f"""
from lean3d.cli.main import main
main(["train", "--help"])
main(["train", "mine", "--out", {str(tmp_path / "run")!r}, *{small!r}])
"""
    said = output(code, plugin)
    assert re.search(r"^  mine +A small UNet on the solids\.$", said, re.M)
    assert json.loads(said.splitlines()[-1])["recipe"] == "mine"


def test_a_format_of_a_plugin_is_recognised(plugin, tmp_path):
    build = 'lean3d.create_model("unet3d", widths=(4, 8))'
    state = lean3d.create_model("unet3d", widths=(4, 8)).state_dict()
    torch.save({f"backbone.{key}": value for key, value in state.items()}, tmp_path / "mine.pth")
    code = f"import lean3d; print(lean3d.load_checkpoint({build}, {str(tmp_path / 'mine.pth')!r}))"
    said = output(code, plugin)
    assert f"the networks of my group (format mine), {len(state)} tensors" in said
    assert "batch norm epsilon 0.001" in said


def test_a_scan_of_a_format_of_a_plugin_is_read(plugin, tmp_path):
    voxels = np.arange(24, dtype="<f4")
    (tmp_path / "x.raw3d").write_bytes(np.array([2, 3, 4], "<i4").tobytes() + voxels.tobytes())
    code = f"""
from lean3d.data import load_volume
volume = load_volume({str(tmp_path / "x.raw3d")!r})
print(volume.image.flatten().tolist(), volume.spacing)
"""
    assert output(code, plugin).strip() == f"{voxels.tolist()} (0.5, 0.2, 0.2)"


def test_a_plugin_that_cannot_be_loaded_is_named_in_one_sentence(tmp_path):
    install(tmp_path, "broken", "import a_package_nobody_has\n")
    code = "import sys; from lean3d.cli.main import main; sys.exit(main(['train', 'digits']))"
    done = run(code, tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "lean3d: the plug-in broken (lean3d_broken) of lean3d-broken cannot be loaded "
        "(ModuleNotFoundError: No module named 'a_package_nobody_has'); repair or uninstall "
        "lean3d-broken\n"
    )


def test_a_name_is_taken_once():
    parts = Registry("part")
    parts.add("mine", 1)
    with pytest.raises(ValueError, match="part 'mine' is registered twice"):
        parts.add("mine", 2)
