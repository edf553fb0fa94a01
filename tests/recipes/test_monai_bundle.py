"""A bundle is accepted by MONAI's own commands, and gives the masks of `lean3d predict`."""

import json
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, verify_net_in_out

from lean3d.errors import RunError
from lean3d.recipes import get_recipe
from lean3d.recipes.monai_bundle import save_bundle
from lean3d.recipes.runs import run
from lean3d.recipes.segment import Segmenter

pytest.importorskip("huggingface_hub")
# MONAI looks for readers of pixels that are not installed
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodec")
# what docs/source/mb_specification.rst of MONAI asks for
MANDATORY = {"version", "monai_version", "pytorch_version", "numpy_version", "task"}
MANDATORY |= {"required_packages_version", "description", "authors", "copyright"}
TENSOR = {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range"}
TENSOR |= {"is_patch_data", "channel_def"}


def put(path, array, turned=False):
    affine = np.diag([-1.0, -1.0, 2.0, 1.0] if turned else [1.0, 1.0, 2.0, 1.0])
    path.parent.mkdir(exist_ok=True, parents=True)
    nib.save(nib.Nifti1Image(array, affine), path)


@pytest.fixture
def data(tmp_path):
    random = np.random.default_rng(0)
    for case in range(3):
        label = np.zeros((20, 18, 10), np.uint8)
        label[4:14, 3:11, 2 + case : 8] = 1
        image = 3 * label + random.normal(0, 0.5, label.shape)
        put(tmp_path / "data" / "images" / f"c{case}.nii.gz", image.astype(np.float32), case == 0)
        put(tmp_path / "data" / "labels" / f"c{case}.nii.gz", label, case == 0)
    return tmp_path / "data"


def trained(data, out, **settings):
    small = dict(widths=(4, 4), patch=(8, 8, 8), epochs=3, train_samples=8, batch_size=2, lr=0.02)
    recipe = replace(get_recipe("folder"), data=str(data), **small | settings)
    run(recipe, out, accelerator="cpu", progress=False)
    return out


SETTINGS = {
    "volumes": dict(model="unet2d", conv=None, convert="acs", intensity=("percentiles",)),
    "slices": dict(model="unet2d", conv=None, patch=(16, 16), axes=(0,), keep_depth=0),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_monai_verifies_the_bundle_and_segments_as_the_run_does(data, tmp_path, kind):
    folder = trained(data, tmp_path / "run", **SETTINGS[kind])
    bundle = save_bundle(folder, tmp_path / "bundle", license="CC-BY-4.0", author="A. Student")
    meta, config = bundle / "configs" / "metadata.json", bundle / "configs" / "inference.json"
    about = json.loads(meta.read_text())
    assert set(about) >= MANDATORY
    card = (bundle / "docs" / "README.md").read_text()
    assert "python -m monai.bundle run" in card
    assert "from_hub" not in card
    for tensors in about["network_data_format"].values():
        assert all(set(tensor) >= TENSOR for tensor in tensors.values())
    assert str(tmp_path) not in "".join(path.read_text() for path in bundle.glob("*/*.json"))
    root = dict(bundle_root=str(bundle), device="cpu")
    verify_net_in_out("network_def", meta_file=meta, config_file=config, **root)
    scan = data / "images" / "c0.nii.gz"
    parser = ConfigParser()
    parser.read_config(config)
    parser.update({**root, "dataset_dir": str(data / "images"), "output_dir": str(tmp_path / "m")})
    network = parser.get_parsed_content("network").eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    item = parser.get_parsed_content("dataset")[0]
    with torch.no_grad():
        pred = parser.get_parsed_content("inferer")(item["image"][None], network)[0]
    parser.get_parsed_content("postprocessing")({"image": item["image"], "pred": pred})
    Segmenter([folder]).segment(scan, [tmp_path / "mask.nii.gz"])
    expected, found = (
        nib.load(path) for path in (tmp_path / "mask.nii.gz", tmp_path / "m" / "c0_mask.nii.gz")
    )
    assert np.allclose(expected.affine, found.affine)
    assert (np.asarray(expected.dataobj) == np.asarray(found.dataobj)).all()
    assert np.asarray(found.dataobj).any()


# in a process of its own, where MONAI finds ignite
PROGRAM = """
from monai.bundle import ConfigWorkflow
flow = ConfigWorkflow(
    "configs/inference.json", "configs/metadata.json", workflow_type="infer", logging_file=False,
    dataset_dir={scans!r}, device="cpu",
)
flow.initialize()
assert not flow.check_properties(), flow.check_properties()
flow.run()
"""


VERIFY = "-m", "monai.bundle", "verify_net_in_out", "network_def", "--device", "cpu"
VERIFY += "--config_file", "configs/inference.json"


@pytest.mark.slow
def test_monai_finds_all_properties_and_runs_it(data, tmp_path):
    folder = trained(data, tmp_path / "run")
    bundle = save_bundle(folder, tmp_path / "bundle", license="CC-BY-4.0")
    for ask in (
        ["-c", PROGRAM.format(scans=str(data / "images"))],
        [*VERIFY, "--meta_file", "configs/metadata.json"],
    ):
        done = subprocess.run([sys.executable, *ask], cwd=bundle, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((bundle / "masks").glob("*_mask.nii.gz"))) == 3


def test_what_a_bundle_cannot_hold_is_refused(data, tmp_path):
    folder = trained(data, tmp_path / "run", **SETTINGS["slices"] | dict(axes=(0, 1), epochs=1))
    with pytest.raises(RunError, match="several axes"):
        save_bundle(folder, tmp_path / "bundle", license="MIT")
    assert not (tmp_path / "bundle").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(RunError, match="not an empty folder"):
        save_bundle(folder, tmp_path / "full", license="MIT")
