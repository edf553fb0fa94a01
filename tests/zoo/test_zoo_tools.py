"""Copies, files, averages, compilers and exporters of converted networks, one of each mechanism."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from networks import FOUR, build
from torch.optim.swa_utils import AveragedModel

from lean3d.conversion import ACS, convert

pytestmark = pytest.mark.slow
x = torch.randn(2, 3, 32, 64, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=FOUR)
def deep(request):
    return convert(build(FOUR[request.param]), ACS()).requires_grad_(False)


def averaged(model):
    average = AveragedModel(model)
    average.update_parameters(model)
    return average


def stored(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def pickled(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("made", [copy.deepcopy, pickled, stored, averaged])
def test_a_copy_gives_the_same(deep, made):
    torch.testing.assert_close(made(deep)(x), deep(x))


def test_it_compiles_in_one_graph(deep):
    torch._dynamo.reset()
    compiled = torch.compile(deep, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), deep(x))


# torch's own, as inductor is imported
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_inductor_compiles_depth_in_the_batch():
    deep = convert(build(FOUR["tf_mobilenetv3"]), ACS()).requires_grad_(False)
    torch._dynamo.reset()
    compiled = torch.compile(deep, fullgraph=True)
    torch.testing.assert_close(compiled(x), deep(x), rtol=1e-3, atol=1e-4)


def test_it_exports(deep):
    program = torch.export.export(deep, (x,))
    torch.testing.assert_close(program.module()(x), deep(x))


def test_onnxruntime_gives_the_same(deep, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(deep, (x,), dynamo=True, verbose=False)
    program.save(tmp_path / "deep.onnx")
    session = runtime.InferenceSession(tmp_path / "deep.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    expected = deep(x)
    assert (torch.from_numpy(found) - expected).abs().max() < 1e-4 * expected.abs().max()
