"""A package of bioimage.io passes bioimageio's own test, and gives the probabilities of the run."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from lean3d.data import load_volume
from lean3d.errors import RunError
from lean3d.recipes import get_recipe
from lean3d.recipes.bioimageio import save_package
from lean3d.recipes.intensity import scaled
from lean3d.recipes.runs import load_run, run

core = pytest.importorskip("bioimageio.core")
pytest.importorskip("onnxruntime")
pytest.importorskip("huggingface_hub")
# of bioimageio itself
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def data(tmp_path):
    random = np.random.default_rng(0)
    for case in range(3):
        label = np.zeros((16, 16, 16), np.uint8)
        label[4:12, 3:11, 2 + case : 12] = 1
        image = (300.0 * label + random.normal(0, 50, label.shape)).astype(np.float32)
        for part, array in (("images", image), ("labels", label)):
            (tmp_path / "data" / part).mkdir(exist_ok=True, parents=True)
            nib.save(
                nib.Nifti1Image(array, np.eye(4)), tmp_path / "data" / part / f"c{case}.nii.gz"
            )
    return tmp_path / "data"


def trained(data, out, **settings):
    small = dict(widths=(4, 4), patch=(16, 16, 16), epochs=1, train_samples=4, batch_size=2)
    recipe = replace(get_recipe("folder"), data=str(data), **small | settings)
    run(recipe, out, accelerator="cpu", progress=False)
    return out


SETTINGS = {
    "by scan": dict(intensity=("zscore",)),
    "window": dict(hu=(-100.0, 200.0), model="unet2d", conv=None, convert="acs"),
    "slices": dict(
        intensity=("percentiles",), model="unet2d", conv=None, patch=(16, 16), keep_depth=0
    ),
}


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "kind", ["by scan", pytest.param("window", marks=slow), pytest.param("slices", marks=slow)]
)
def test_bioimageio_tests_the_package_and_it_gives_the_probabilities_of_the_run(
    data, tmp_path, kind
):
    folder = trained(data, tmp_path / "run", **SETTINGS[kind])
    about = dict(license="cc-by-4.0", author="A. Student")
    package = save_package(folder, tmp_path / "net.zip", **about)
    summary = core.test_model(package, determinism="seed_only")
    assert summary.status == "passed", summary.format()
    description = core.load_model_description(package)
    assert (description.name, str(description.license)) == ("lean3d net", "CC-BY-4.0")
    model, recipe = load_run(folder)
    volume = load_volume(data / "images" / "c0.nii.gz")
    wanted = scaled(recipe, volume).image[None]
    raw = volume.image[None].numpy()
    if kind == "slices":
        wanted, raw = wanted[:, :, 5], raw[:, :, 5]
    with torch.inference_mode():
        expected = model(wanted).softmax(1)
    found = core.predict(model=description, inputs={"image": raw})
    output = found.members["probabilities"].data.to_numpy()
    assert np.abs(output - expected.numpy()).max() < 1e-3


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (dict(license="free"), "SPDX"),
        (dict(name="mine"), "its name is 'mine': Value should have at least 5"),
        (dict(author=" "), "needs an author"),
        (dict(path="net.tar"), r"is a \.zip"),
    ],
)
def test_what_the_package_needs_is_asked_for(data, tmp_path, about, words):
    folder = trained(data, tmp_path / "run")
    path = tmp_path / about.pop("path", "net.zip")
    with pytest.raises(RunError, match=words):
        save_package(folder, path, **dict(license="MIT", author="A. Student") | about)
    assert not path.exists()
