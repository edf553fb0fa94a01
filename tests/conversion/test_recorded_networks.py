"""Converted networks recorded at one size hold at others."""

import pytest
import torch
from torch import nn
from torch.export import Dim

import lean3d

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


def network(*middle):
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)]
    stem = [nn.Conv2d(3, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*stem, *middle, nn.Conv2d(8, 8, 3, padding=1), *head).eval()


MIDDLES = {
    "max": nn.MaxPool2d(3, 2, 1),
    "max_unpadded": nn.MaxPool2d(2),
    "mean": nn.AvgPool2d(2),
    "mean_padded": nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    "mean_of_all": nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
    "mean_divided": nn.AvgPool2d(2, divisor_override=3),
    "power": nn.LPPool2d(2, 2),
    "reflect": nn.ReflectionPad2d(1),
    "transposed": nn.ConvTranspose2d(8, 8, 2, 2),
    "shuffle": nn.PixelUnshuffle(1),
    "bicubic": nn.Upsample(scale_factor=2, mode="bicubic"),
}
CASES = [(middle, lean3d.ACS()) for middle in MIDDLES]
CASES += [("transposed", lean3d.Inflate()), ("max", lean3d.Planar()), ("mean", lean3d.MeanACS())]
every_case = pytest.mark.parametrize(("middle", "how"), CASES, ids=str)


@every_case
def test_a_trace_holds_for_thinner_and_thicker_volumes(middle, how):
    deep = lean3d.convert(network(MIDDLES[middle]), how).eval()
    traced = torch.jit.trace(deep, torch.randn(1, 3, 12, 16, 20))
    thin = 4 if middle == "reflect" else 1
    for size in ((1, 3, thin, 16, 16), (1, 3, 7, 24, 16), (2, 3, 40, 16, 24)):
        x = torch.randn(*size)
        torch.testing.assert_close(traced(x), deep(x), atol=1e-4, rtol=1e-4)


# torch's exporter by TorchScript has no power pool, divisor, shuffle or bicubic kernel in 3D
@pytest.mark.parametrize(
    "middle", sorted(MIDDLES.keys() - {"power", "mean_divided", "shuffle", "bicubic"})
)
@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Constant folding:UserWarning")
@pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning")
def test_the_exporter_by_torchscript_writes_a_network_for_many_sizes(middle, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    deep = lean3d.convert(network(MIDDLES[middle]), lean3d.ACS()).eval()
    path, axes = str(tmp_path / "x.onnx"), {"x": {0: "b", 2: "d", 3: "h", 4: "w"}}
    with torch.no_grad():
        example = (torch.randn(1, 3, 12, 16, 20),)
        torch.onnx.export(deep, example, path, dynamo=False, input_names=["x"], dynamic_axes=axes)
        session = runtime.InferenceSession(path)
        for size in ((1, 3, 12, 16, 20), (2, 3, 15, 24, 16)):
            x = torch.randn(*size)
            found = torch.from_numpy(session.run(None, {"x": x.numpy()})[0])
            torch.testing.assert_close(found, deep(x), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@every_case
def test_a_program_exported_for_many_sizes_holds_for_all(middle, how):
    deep = lean3d.convert(network(MIDDLES[middle]), how).eval()
    sizes = {axis: 8 * Dim(f"d{axis}", min=1, max=32) for axis in (2, 3, 4)}
    with torch.no_grad():
        example = (torch.randn(1, 3, 16, 16, 24),)
        program = torch.export.export(deep, example, dynamic_shapes=(sizes,)).module()
    for size in ((1, 3, 8, 16, 16), (1, 3, 24, 32, 64), (1, 3, 40, 40, 48)):
        x = torch.randn(*size)
        torch.testing.assert_close(program(x), deep(x), atol=1e-4, rtol=1e-4)
