"""A segmentation run as a package of bioimage.io, the model zoo of microscopy.

The weights are one ONNX graph from grey values to probabilities: the fixed scale of a run, such as
a window, is part of it; zero mean and unit variance of a scan are a step of the package, over all
of its voxels.

Axes: B batch, C channels, D depth, H height, W width, K outputs.
"""

import tempfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from lean3d.errors import RunError
from lean3d.files import write_whole
from lean3d.infer.export import export_network
from lean3d.optional import require
from lean3d.recipes.load import load_run, read_record
from lean3d.recipes.segmentation import SegmentationRecipe
from lean3d.recipes.share import card_of, scores_of

__all__ = ["save_package"]

HOME = "https://github.com/lean3d/lean3d"
# names of the axes by the number of sides
SIDES = {2: "yx", 3: "zyx"}
EPSILON = 1e-6
USE = (
    "The network takes windows of the size above, so a scan of another size goes block by block:",
    "",
    "```bash",
    "bioimageio predict PACKAGE.zip --inputs scan.npy --blockwise True "
    "--outputs {sample_id}_probabilities.npy",
    "```",
)


def save_package(
    run: str | Path, path: str | Path, *, license: str, name: str = "", author: str = ""
) -> Path:
    """Write a finished segmentation run as a package of bioimage.io, a zip file.

    Args:
        path: Ends in .zip.
        license: Of the weights, by its SPDX name, such as "CC-BY-4.0".
        name: Of the model; the file's by default, after "lean3d" if that is very short.
        author: Who made the model.

    Raises:
        RunError: the run segments nothing, the license has no SPDX name, there is no author, or
            the network cannot be exported.
    """
    run, path = Path(run), Path(path)
    if path.suffix != ".zip":
        raise RunError(f"a package of bioimage.io is a .zip, got {path}")
    spec = require("bioimageio.spec.model.v0_5", extra="bioimageio")
    model, recipe = load_run(run)
    if not isinstance(recipe, SegmentationRecipe):
        raise RunError(
            f"{run} learnt {recipe.task}, and a package of bioimage.io is of runs that segment; "
            "share it with --package run"
        )
    if not author.strip():
        raise RunError("a package of bioimage.io needs an author; pass --author NAME")
    # a name of theirs has five characters or more
    title = name or (path.stem if len(path.stem) > 4 else f"lean3d {path.stem}")
    license = _spdx(license)
    sides = list(recipe.window or recipe.patch)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        graph = _Graph(model, recipe).eval()
        shape = (1, recipe.in_channels, *sides)
        export_network(graph, folder / "weights.onnx", shape)
        onnx = require("onnx", extra="export")
        file = onnx.load(folder / "weights.onnx", load_external_data=False)
        opset = file.opset_import[0].version
        image = _test_image(recipe, shape)
        with torch.inference_mode():
            output = graph(_standard(image) if _by_scan(recipe) else image)
        np.save(folder / "test_input.npy", image.numpy())
        np.save(folder / "test_output.npy", output.numpy())
        record = read_record(run)
        card = card_of(model, recipe, record, scores_of(run), license, title, USE)
        (folder / "README.md").write_text(card, encoding="utf-8")
        named = {"name": title, "license": license}
        packed = require("bioimageio.spec", extra="bioimageio")
        try:
            about = _described(spec, recipe, folder, sides, opset) | named
            about |= {"authors": [spec.Author(name=author.strip())]}
            described = spec.ModelDescr(**about)
            with write_whole(path) as temporary:
                temporary.unlink()
                packed.save_bioimageio_package(described, output_path=temporary)
        except ValueError as error:  # of pydantic: what the specification does not allow
            raise RunError(f"bioimage.io does not take {path}: {_wrong(error)}") from error
    return path


class _Graph(nn.Module):
    """From grey values to probabilities."""

    low: Tensor
    high: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, model: nn.Module, recipe: SegmentationRecipe):
        super().__init__()
        self.model, self.softmax = model, recipe.activation == "softmax"
        values = torch.tensor(recipe.scaling or (0.0,) * 4 * recipe.in_channels).view(-1, 4)
        by_scan = ~values.any(1)
        # channels of zero mean and unit variance are scaled before, as a step of the package
        values[by_scan] = torch.tensor([-3e38, 3e38, 0.0, 1.0])
        shape = (1, -1) + (1,) * len(recipe.patch)
        for name, column in zip(("low", "high", "mean", "deviation"), values.T, strict=True):
            self.register_buffer(name, column.reshape(shape).clone())

    def forward(self, x: Tensor) -> Tensor:
        x = (torch.minimum(torch.maximum(x, self.low), self.high) - self.mean) / self.deviation
        y = self.model(x)
        return y.softmax(1) if self.softmax else y.sigmoid()


def _by_scan(recipe: SegmentationRecipe) -> bool:
    """Whether channels have zero mean and unit variance in every scan."""
    scaling = recipe.scaling or (0.0,) * 4 * recipe.in_channels
    found = {not any(scaling[i : i + 4]) for i in range(0, len(scaling), 4)}
    if len(found) > 1:
        raise RunError(
            "some channels of the run have a fixed scale and others that of each scan, which a "
            "package of bioimage.io cannot say; train with one --intensity"
        )
    return found.pop()


def _standard(image: Tensor) -> Tensor:
    """Scale as `zero_mean_unit_variance` of bioimage.io does, by channel."""
    axes = list(range(2, image.ndim))
    mean = image.mean(axes, keepdim=True)
    return (image - mean) / (image.std(axes, correction=0, keepdim=True) + EPSILON)


def _test_image(recipe: SegmentationRecipe, shape: tuple[int, ...]) -> Tensor:
    """Noise within the values that the run was trained on."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if _by_scan(recipe):
        return 100 + 20 * noise
    values = torch.tensor(recipe.scaling).view(-1, 4)
    view = (1, -1) + (1,) * (len(shape) - 2)
    return noise * values[:, 3].view(view) + values[:, 2].view(view)


def _described(
    spec: Any, recipe: SegmentationRecipe, folder: Path, sides: list[int], opset: int
) -> dict[str, Any]:
    letters = SIDES[len(sides)]
    spacing = dict(zip("zyx", recipe.sides_mm or (1.0,) * 3, strict=True))
    unit = {"unit": "millimeter"} if recipe.sides_mm is not None else {}
    regions = recipe.read_regions
    names = recipe.names if regions is None else regions.names
    space = [dict(id=a, scale=spacing[a], **unit) for a in letters]
    inputs = [
        spec.BatchAxis(),
        spec.ChannelAxis(channel_names=[f"channel{c}" for c in range(recipe.in_channels)]),
        *(spec.SpaceInputAxis(size=n, **one) for n, one in zip(sides, space, strict=True)),
    ]
    outputs = [
        spec.BatchAxis(),
        spec.ChannelAxis(channel_names=[_identifier(name) for name in names]),
        *(spec.SpaceOutputAxis(size=n, **one) for n, one in zip(sides, space, strict=True)),
    ]
    before = []
    if _by_scan(recipe):
        how = spec.ZeroMeanUnitVarianceKwargs(axes=list(letters), eps=EPSILON)
        before = [spec.ZeroMeanUnitVarianceDescr(kwargs=how)]
    file = spec.FileDescr
    return {
        "description": f"{recipe.model}, trained by lean3d to segment "
        f"{', '.join(recipe.scored_names)}",
        "documentation": file(source=folder / "README.md"),
        "cite": [spec.CiteEntry(text="lean3d", url=HOME)],
        "git_repo": HOME,
        "tags": ["lean3d", "segmentation", f"{len(sides)}d", "pytorch"],
        "inputs": [
            spec.InputTensorDescr(
                id="image",
                axes=inputs,
                test_tensor=file(source=folder / "test_input.npy"),
                preprocessing=before,
            )
        ],
        "outputs": [
            spec.OutputTensorDescr(
                id="probabilities",
                axes=outputs,
                test_tensor=file(source=folder / "test_output.npy"),
            )
        ],
        "weights": spec.WeightsDescr(
            onnx=spec.OnnxWeightsDescr(source=folder / "weights.onnx", opset_version=opset)
        ),
    }


def _identifier(name: str) -> str:
    """Return a name of letters, digits and underscores, as channels have."""
    word = "".join(letter if letter.isalnum() else "_" for letter in name)
    return word if word[:1].isalpha() else f"class_{word}"


def _spdx(license: str) -> str:
    """Return the SPDX name of a license, however it is spelt.

    Raises:
        RunError: there is none.
    """
    kind = require("bioimageio.spec.generic.v0_3", extra="bioimageio").LicenseId
    known = get_args(kind.root_model.model_fields["root"].annotation)
    names = {str(name).lower(): str(name) for name in known}
    found = names.get(license.strip().lower())
    if found is None:
        raise RunError(
            f"bioimage.io takes licenses by their SPDX names, such as CC-BY-4.0 or MIT, got "
            f"{license!r}"
        )
    return found


def _wrong(error: ValueError) -> str:
    """Return the first thing that pydantic finds wrong: where it is, and why."""
    listed: Any = getattr(error, "errors", None)
    if listed is None:
        return " ".join(str(error).split())[:200]
    first = listed()[0]
    where = ".".join(map(str, first["loc"])) or "it"
    return f"its {where} is {str(first['input'])[:60]!r}: {first['msg']}; change the {where}"
