"""PyTorch's own module inputs for Conv3d and ConvTranspose3d, over every operator.

The laws are those of torch's test_modules.py: output, gradients and second gradients, inputs of any
strides, without a batch axis, in other memory formats, after saving and pickling.
"""

import copy
import io
import pickle

import pytest
import torch
from op_variants import TRANSPOSED, VARIANTS, build
from torch import nn
from torch.testing._internal.common_modules import module_db

ENTRIES = {info.module_cls: info for info in module_db}
# multiples of what their groups ask for; torch takes 5
OUTPUTS = {"ir": 8, "ip_pairs": 6}


def cases(variants, torchs):
    for variant in variants:
        inputs = ENTRIES[torchs].module_inputs_func(
            ENTRIES[torchs], device="cpu", dtype=torch.float64, requires_grad=True, training=False
        )
        for number, given in enumerate(inputs):
            yield pytest.param(variant, torchs, given, id=f"{variant}-{number}{given.desc}")


every_input = pytest.mark.parametrize(
    ("variant", "torchs", "given"),
    [*cases(VARIANTS, nn.Conv3d), *cases(TRANSPOSED, nn.ConvTranspose3d)],
)


@pytest.fixture
def made(variant, given):
    """The operator, built as torch builds its own, and its input."""
    ins, outs, *rest = given.constructor_input.args
    more = given.constructor_input.kwargs | {"dtype": torch.float64}
    channels = (ins, OUTPUTS.get(variant, outs))
    names = ("kernel_size", "stride", "padding")
    op = build(variant, channels, **dict(zip(names, rest, strict=False)), **more).eval()
    (x,) = given.forward_input.args
    return op, x.detach().requires_grad_()


@every_input
def test_gives_the_shape_of_torchs_module_and_the_answer_of_a_batch(variant, torchs, given, made):
    op, x = made
    dense = torchs(op.in_channels, op.out_channels, 3, padding=op.padding, dtype=torch.float64)
    y = op(x)
    assert y.shape == dense(x).shape
    if x.ndim == 4:
        torch.testing.assert_close(y, op(x[None])[0])


@every_input
def test_gradients_are_those_of_finite_differences(variant, torchs, given, made):
    op, x = made
    x = x.detach()[..., :4, :4].requires_grad_() if op.padding != "same" else x
    inputs = [x, *op.parameters()]
    torch.manual_seed(0)

    def run(x, *weights):
        names = [name for name, _ in op.named_parameters()]
        return torch.func.functional_call(op, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


@every_input
def test_takes_inputs_of_any_strides(variant, torchs, given, made):
    op, x = made
    expected = op(x)
    turned = x.transpose(-1, -2).contiguous().transpose(-1, -2)
    spread = torch.stack([x, x], -1)[..., 1]
    for other in (turned, spread):
        assert not other.is_contiguous()
        torch.testing.assert_close(op(other), expected)


@every_input
def test_takes_other_memory_formats(variant, torchs, given, made):
    op, x = made
    expected = op(x)
    moved = copy.deepcopy(op).to(memory_format=torch.channels_last_3d)
    last = x.to(memory_format=torch.channels_last_3d) if x.ndim == 5 else x
    torch.testing.assert_close(moved(last), expected)


@every_input
def test_is_saved_pickled_and_repeated(variant, torchs, given, made):
    op, x = made
    expected, file = op(x), io.BytesIO()
    torch.save(op, file)
    file.seek(0)
    saved = torch.load(file, weights_only=False)
    for twin in (saved, pickle.loads(pickle.dumps(op)), copy.deepcopy(op), op):
        torch.testing.assert_close(twin(x), expected)
    assert type(op).__name__ in repr(op)


@every_input
def test_its_parameters_move_between_dtypes_and_devices(variant, torchs, given, made):
    op, x = made
    assert op.to(torch.float32)(x.float()).dtype == torch.float32
    assert op.to("meta")(x.float().to("meta")).device.type == "meta"
