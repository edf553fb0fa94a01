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


def run(code, path, arguments=()):
    """Run a program in a new process, with a folder on its path."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (SOURCE, path)))}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def output(code, path, arguments=()):
    done = run(code, path, arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_recipe_of_a_plugin_is_trained(plugin, tmp_path):
    small = ["--widths", "4", "8", "--train-samples", "2", "--val-samples", "1", "--epochs", "1"]
    code = f"""
from lean3d.cli.main import main
main(["train", "mine", "--out", {str(tmp_path / "run")!r}, *{small!r}])
"""
    assert json.loads(output(code, plugin).splitlines()[-1])["recipe"] == "mine"


PARTS = """
import sys
import torch
from torch import nn
import lean3d
from lean3d.cli.main import main
from lean3d_mine import Middle, TwoViews

torch.manual_seed(0)
flat, x = lean3d.create_model("unet2d", widths=(4, 8)).eval(), torch.randn(1, 1, 8, 12, 16)
deep = lean3d.convert(flat, TwoViews())
print("grade", deep.conversion.grade)
with torch.no_grad():
    back = lean3d.unconvert(deep)(x[:, :, 0])
    print("back", torch.equal(back, flat(x[:, :, 0])))
    print("fold", torch.allclose(lean3d.fold(deep)(x), deep(x), atol=1e-5))
lean = lean3d.convert(lean3d.create_model("unet3d", widths=(4, 8)), Middle(), example=x)
print("lean", {type(module).__name__ for module in lean.modules()} >= {"PlanarConv3d"})
conv = torch.nn.Conv3d(4, 8, 3)
print("decompose", *(round(lean3d.decompose(conv, how())[1], 3) for how in (Middle, TwoViews)))
main(["train", "--help"])
main(["convert", "--help"])
for model, name in (("unet2d", "two_views"), ("unet3d", "middle")):
    main(["convert", model, "--widths", "4", "8", "--how", name])
try:
    lean3d.convert(flat, TwoViews)
except lean3d.ConversionError as error:
    print(error)

class Rolls(nn.Module):
    def forward(self, x):
        return torch.roll(x, (1, 2), (2, 3))

flat = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), Rolls(), nn.Conv2d(4, 2, 1)).eval()
deep = lean3d.convert(flat, lean3d.ACS())
x = torch.randn(2, 4, 5, 6, 7)
print("rolled", torch.equal(deep[1](x), torch.roll(x, (1, 1, 2), (2, 3, 4))))
torch.save(deep[1]._depth_merge, sys.argv[3])

model = lean3d.create_model("unet3d", widths=(4, 8))
print(lean3d.load_checkpoint(model, sys.argv[1]))

from lean3d.data.layouts import find_items
print("items", [item.name for item in find_items("pairs:" + sys.argv[2]).items])
listing = lean3d.data.load_videos("by_prefix:" + sys.argv[2])
print("videos", listing.classes, {part: len(own) for part, own in listing.parts.items()})
"""


@pytest.fixture(scope="module")
def said(plugin, tmp_path_factory):
    file, cases = (tmp_path_factory.mktemp(name) for name in ("weights", "cases"))
    file /= "mine.pth"
    for name in ("b_ct", "b_seg", "a_ct", "a_seg"):
        (cases / f"{name}.nii.gz").touch()
    for name in ("bow_1", "bow_2", "bow_10", "wave_1", "wave_20"):
        (cases / f"{name}.mp4").touch()
    state = lean3d.create_model("unet3d", widths=(4, 8)).state_dict()
    torch.save({f"my_{key}": value for key, value in state.items()}, file)
    return output(PARTS, plugin, arguments=[str(file), str(cases), str(plugin / "folding.pt")])


def test_a_method_of_a_plugin_converts_and_goes_back(said):
    for line in ("grade isotropic", "back True", "fold True", "lean True"):
        assert f"\n{line}\n" in f"\n{said}"
    missed = [float(word) for word in re.search(r"^decompose (.*)$", said, re.M)[1].split()]
    assert len(missed) == 2
    assert all(0 < error < 1 for error in missed)


def test_a_method_of_a_plugin_has_a_name_and_a_line(said):
    for row in ("two_views +half of the outputs on the axial", "middle +its middle slice alone"):
        assert re.search(f"^{row}", said, re.M)
    lines = [json.loads(line) for line in said.splitlines() if line.startswith('{"model"')]
    assert [line["how"] for line in lines] == ["two_views", "middle"]
    assert re.search(r"how must be ACS\(\), .*TwoViews\(\) for a 2D model, .*Middle\(\),", said)


def test_a_rule_of_a_plugin_converts_a_function(said):
    assert "\nrolled True\n" in said


def test_a_stored_model_imports_the_rules_it_needs(said, plugin):
    code = "import sys, torch; torch.load(sys.argv[1], weights_only=False)"
    code += "; print('lean3d_mine' in sys.modules)"
    assert output(code, plugin, arguments=[str(plugin / "folding.pt")]) == "True\n"
    with pytest.raises(ModuleNotFoundError, match="lean3d_mine"):
        torch.load(plugin / "folding.pt", weights_only=False)


def test_a_format_of_a_plugin_is_recognised(said):
    assert "the networks of my group (format mine), " in said
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


def test_a_recipe_of_a_plugin_is_listed(said):
    assert re.search(r"^  mine +A small UNet on the solids\.$", said, re.M)


def test_a_layout_of_a_plugin_lists_its_cases(said):
    assert "\nitems ['a', 'b']\n" in said


def test_a_data_set_of_videos_of_a_plugin_is_found(said):
    assert "\nvideos ('bow', 'wave') {'train': 3, 'val': 2}\n" in said


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
