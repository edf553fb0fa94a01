"""What every registered model promises; on the meta device wherever values do not matter.

The smallest of each family stands for it; its larger sisters are among the slow tests.
"""

import copy
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from lean3d.errors import ShapeError
from lean3d.models import find_model, list_models

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
ODD = (17, 65, 67)
CLASSES = 7


def smallest_of_each_family():
    families = {}
    for name in list_models():
        family, number = re.fullmatch(r"(.*?)_?(\d*)", name).groups()
        families.setdefault(family, []).append((int(number or 0), name))
    return [min(names)[1] for names in families.values()]


SMALLEST = smallest_of_each_family()


def axes(entry):
    """Axes of space and time."""
    return len(entry.input_shape) - 2


def odd(entry, batch, channels, sizes=ODD):
    return torch.empty(batch, channels, *sizes[-axes(entry) :], device="meta")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(n, marks=[] if n in SMALLEST else pytest.mark.slow) for n in list_models()
    ],
)
def entry(request):
    return find_model(request.param)


@pytest.fixture(scope="module")
def marked(entry):
    """An operator that can be told from nn.Conv3d."""
    return type("Marked", (nn.Conv3d if axes(entry) == 3 else nn.Conv2d,), {})


@pytest.fixture(scope="module")
def model(entry, marked):
    with torch.device("meta"):
        return entry.build(in_channels=2, num_classes=CLASSES, conv=marked)


@pytest.mark.parametrize("name", list_models())
def test_has_a_line_a_source_and_the_arguments_of_all(name):
    entry = find_model(name)
    assert entry.source
    assert "{" not in entry.what
    assert {"in_channels", "num_classes", "conv"} <= entry.takes.keys()
    assert entry.takes["in_channels"] == entry.input_shape[1]
    line = f"| `{name}` | {entry.what} |"
    assert line in DOCS.read_text(), "run: lean3d models --out docs/models.md"


def test_takes_the_input_of_its_paper(entry):
    with torch.device("meta"), torch.no_grad():
        scores = entry.build()(torch.empty(entry.input_shape))
    assert entry.takes["num_classes"] in scores.shape[1:]


def test_odd_sizes_give_scores_and_reach_every_parameter(entry, model):
    scores = model(odd(entry, 3, 2))
    assert scores.shape[0] == 3
    assert CLASSES in scores.shape[1:]
    scores.sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


def test_an_axis_too_few_and_a_wrong_channel_are_named(entry, model):
    with pytest.raises(ShapeError, match=f"axes, not {axes(entry) + 2}"):
        model(odd(entry, 3, 2)[0])
    with pytest.raises(ShapeError, match="axis C is 5, not 2"):
        model(odd(entry, 1, 5))


def kernels(model):
    """Its convolutions; those that enlarge are as large as the pool before."""
    up = nn.modules.conv._ConvTransposeNd
    kinds = (m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd))
    return [conv for conv in kinds if not isinstance(conv, up)]


def test_the_operator_has_every_kernel_of_3(model, marked):
    convs = kernels(model)
    assert any(isinstance(conv, marked) for conv in convs)
    cubes = [conv for conv in convs if set(conv.kernel_size) == {3}]
    assert all(isinstance(conv, marked) for conv in cubes)


def test_what_stays_plain_is_pointwise_or_a_stem(model, marked):
    convs = kernels(model)
    first = next(place for place, conv in enumerate(convs) if isinstance(conv, marked))
    plain = [conv.kernel_size for conv in convs[first:] if not isinstance(conv, marked)]
    assert all(max(size) < 3 for size in plain)


def test_its_state_fits_another_of_the_name(entry, model, marked):
    with torch.device("meta"):
        other = entry.build(in_channels=2, num_classes=CLASSES, conv=marked)
    other.load_state_dict(model.state_dict())


def small(entry):
    """The network with few channels where it can have few, and an input with values."""
    torch.manual_seed(0)
    widths = {"widths": (8,) * len(entry.takes["widths"])} if "widths" in entry.takes else {}
    x = torch.randn_like(odd(entry, 2, entry.input_shape[1], (5, 19, 21)), device="cpu")
    return entry.build(**widths), entry.build(**widths), x


@pytest.mark.parametrize("name", SMALLEST)
def test_a_copy_and_a_loaded_state_answer_alike_and_training_is_another_mode(name):
    model, other, x = small(find_model(name))
    trained = model.train()(x)
    model.eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        answer = model(x)
        torch.testing.assert_close(copy.deepcopy(model)(x), answer)
        torch.testing.assert_close(other.eval()(x), answer)
    assert torch.isfinite(answer).all()
    normed = any(isinstance(m, nn.modules.batchnorm._NormBase) for m in model.modules())
    assert torch.allclose(trained, answer) != normed


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_it_is_pickled_exported_whole_and_traced_by_the_compiler(name):
    model, _, x = small(find_model(name))
    model.eval()
    with torch.no_grad():
        answer = model(x)
        torch.testing.assert_close(pickle.loads(pickle.dumps(model))(x), answer)
        torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), answer)
        # all networks of one class share a forward, and the compiler keeps few versions of it
        torch.compiler.reset()
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), answer)
