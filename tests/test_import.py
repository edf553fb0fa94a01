"""`import lean3d` needs torch and numpy alone, touches no GPU and costs next to nothing."""

import subprocess
import sys

EXTRAS = [
    "lightning",
    "torchmetrics",
    "tensorboard",
    "matplotlib",
    "monai",
    "nibabel",
    "scipy",
    "nilearn",
    "sklearn",
    "skimage",
    "tyro",
    "rich",
    "av",
    "timm",
    "torchvision",
    "onnx",
    "psutil",
    "triton",
    "pydicom",
    "tifffile",
    "zarr",
    "h5py",
]

BLOCKED = f"""
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(name, *rest):
    return None if name.split(".")[0] in {EXTRAS!r} else find(name, *rest)
PathFinder.find_spec = find_spec
"""

USE = """
import torch, lean3d
flat = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 3, padding=1), torch.nn.ReLU())
deep = lean3d.convert(flat, lean3d.ACS())
assert deep(torch.zeros(1, 1, 5, 6, 7)).shape == (1, 6, 5, 6, 7)
assert lean3d.count(lean3d.create_model("unet3d"), (1, 1, 8, 8, 8)).macs > 0
assert not torch.cuda.is_initialized()
"""


def python(code):
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_imports_converts_and_counts_with_torch_and_numpy_alone():
    python(BLOCKED + USE)


def test_an_absent_extra_is_named_where_it_is_needed():
    code = BLOCKED + (
        "from lean3d.errors import MissingExtraError\n"
        "from lean3d.data.brain import mni152\n"
        "try:\n    mni152(2.0)\n"
        "except MissingExtraError as error:\n    print(error)\n"
    )
    assert "pip install 'lean3d[demo]'" in python(code)


def test_import_loads_no_third_package_and_no_part_of_torch_that_torch_does_not():
    before = "import sys, numpy, torch\nbefore = set(sys.modules)\nimport lean3d\nlean3d.convert\n"
    new = "print({m for m in set(sys.modules) - before if m.partition('.')[0] != 'lean3d'})"
    loaded = eval(python(before + new))
    assert {m.partition(".")[0] for m in loaded} <= set(sys.stdlib_module_names)


def test_counting_on_the_command_line_loads_nothing_that_trains():
    code = "import sys, lean3d.cli.count\nprint({'lightning', 'torchmetrics'} & sys.modules.keys())"
    assert python(code) == "set()\n"
