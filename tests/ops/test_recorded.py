"""Calls recorded at one size give the eager answers at others."""

import pytest
import torch
from op_variants import TRANSPOSED, VARIANTS, build, volume
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.export import Dim

from lean3d.ops.recorded import COMPILES, holds, is_plain

every_operator = pytest.mark.parametrize("variant", [*VARIANTS, *TRANSPOSED])
# torch's own remarks
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Constant folding:UserWarning"),
    pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning"),
]

# the kernel spans all of depth; a thin volume; one beyond every bound of a measured choice
RECORDED, OTHERS = (1, 4, 3, 8, 10), [(1, 4, 5, 5, 5), (2, 4, 3, 9, 7), (1, 4, 32, 32, 36)]
SIZES = {2: Dim("d", min=3, max=512), 3: Dim("h", min=4, max=512), 4: Dim("w", min=4, max=512)}


def made(variant, **more):
    return build(variant, kernel_size=3, **more).eval()


def assert_same_at_other_sizes(program, op, batches=(1, 2)):
    for shape in OTHERS:
        if shape[0] in batches:
            x = volume(*shape)
            torch.testing.assert_close(program(x), op(x), atol=1e-4, rtol=1e-4)


@every_operator
@pytest.mark.parametrize("grad", [False, True])
def test_a_trace_holds_at_other_sizes(variant, grad):
    # pytest turns torch's warnings of sizes that become constants into errors
    op = made(variant)
    with torch.set_grad_enabled(grad):
        assert_same_at_other_sizes(torch.jit.trace(op, volume(*RECORDED)), op)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_trace_of_a_strided_stem_passes_its_own_check_with_gradients(channels):
    op = build("acs", (channels, 8), kernel_size=7, stride=2, padding=3)
    torch.jit.trace(op, volume(1, channels, 8, 16, 16))


def test_a_trace_of_a_depthwise_kernel_passes_its_own_check_with_gradients():
    op = build("acs", (8, 8), kernel_size=3, padding=1, groups=8)
    torch.jit.trace(op, volume(1, 8, 6, 6, 6))


@every_operator
def test_a_program_exported_for_many_sizes_holds_for_all(variant):
    op = made(variant, padding=1)
    with torch.no_grad():
        program = torch.export.export(op, (volume(*RECORDED),), dynamic_shapes=(SIZES,))
    assert_same_at_other_sizes(program.module(), op, batches=(1,))


@pytest.mark.parametrize("variant", ["acs", "planar_0", "causal", "acs_transposed"])
def test_a_graph_compiled_for_many_sizes_is_compiled_once(variant):
    torch._dynamo.reset()
    op = made(variant, padding=1)
    counter = CompileCounter()
    compiled = torch.compile(op, backend=counter, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for depth in (3, 6, 32):
            x = volume(1, 4, depth, 30, 40)
            torch.testing.assert_close(compiled(x), op(x), atol=1e-4, rtol=1e-4)
    assert counter.frame_count == 1


@every_operator
def test_gradients_of_each_sample_are_those_of_one_at_a_time(variant):
    # as large as where eager calls change the memory format
    op = build(variant, (2, 8), kernel_size=3, padding=1).eval()
    weights = dict(op.named_parameters())
    x = volume(2, 1, 2, 32, 32, 32)

    def loss(weights, x_BCDHW):
        return torch.func.functional_call(op, weights, (x_BCDHW,)).square().mean()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    alone = [torch.func.grad(loss)(weights, sample) for sample in x]
    for name, gradient in each.items():
        expected = torch.stack([one[name] for one in alone])
        torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)


@every_operator
@pytest.mark.parametrize("shape", [(1, 4, 3, 6, 7), (1, 4, 8, 8, 8)])
def test_forward_mode_gives_the_derivative_of_finite_differences(variant, shape):
    op = build(variant, kernel_size=3, dtype=torch.float64).eval()
    x, along = volume(*shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    y, change = torch.func.jvp(op, (x,), (along,))
    torch.testing.assert_close(y, op(x))
    step = 1e-6
    expected = (op(x + step * along) - op(x - step * along)) / (2 * step)
    torch.testing.assert_close(change, expected, atol=1e-5, rtol=1e-5)


@every_operator
def test_forward_mode_needs_no_transform(variant):
    # in float32, where eager calls go round ATen
    op, x = build(variant, kernel_size=3).eval(), volume(1, 4, 6, 6, 6)
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        change = torch.autograd.forward_ad.unpack_dual(op(dual)).tangent
    _, expected = torch.func.jvp(op, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(change, expected)


@pytest.mark.parametrize(
    ("variant", "channels"),
    # of two outputs one view has none, as in the head of a segmentation of two classes
    [(variant, None) for variant in (*VARIANTS, *TRANSPOSED)] + [("acs", (4, 2)), ("acs", (4, 1))],
)
def test_the_exporter_by_torchscript_writes_a_file_for_many_sizes(variant, channels, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    own = () if channels is None else (channels,)
    op, path = build(variant, *own, kernel_size=3, padding=1).eval(), str(tmp_path / "op.onnx")
    axes = {"x": dict(enumerate("BCDHW"))}
    with torch.no_grad():
        example = (volume(*RECORDED),)
        torch.onnx.export(op, example, path, dynamo=False, input_names=["x"], dynamic_axes=axes)
    session = runtime.InferenceSession(path)

    def run(x):
        return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])

    assert_same_at_other_sizes(run, op)


def test_a_comparison_of_sizes_holds_only_where_it_does_for_all_sizes():
    class Asks(nn.Module):
        def forward(self, x):
            return x + (1 if holds(x.shape[2] == 3) else 0) + (2 if is_plain(x) else 0)

    x = torch.zeros(1, 4, 3, 5, 6)
    assert Asks()(x).max() == 3
    fixed = torch.export.export(Asks(), (x,)).module()
    assert fixed(x).max() == (1 if COMPILES else 0)
    free = torch.export.export(Asks(), (x,), dynamic_shapes=(SIZES,)).module()
    assert free(x).max() == 0
    assert torch.jit.trace(Asks(), x, check_trace=False)(x).max() == 0
