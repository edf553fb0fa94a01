"""Converted networks in any number of threads, and conversions beside other work."""

import copy
import pickle
import sys
import threading
import warnings

import pytest
import torch
import torch.nn.functional as F
from flat_models import SqueezeExcite
from threads_law import mistakes, together
from torch import fx, nn

from lean3d import Dissect, ParallelSeparable, fold, unconvert
from lean3d.conversion import ACS, Inflate, SoftACS, convert
from lean3d.conversion.to3d.merged.call import _LOCAL, MOST


class Stacked(nn.Module):
    """Its forward sees neighbours by functions, and computes a kernel."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.gate = SqueezeExcite(6)

    def forward(self, x):
        y = F.avg_pool2d(F.relu(self.a(x)), 2)
        y = F.conv2d(y, self.b.weight - self.b.weight.mean(), padding=1)
        y = F.interpolate(self.gate(self.b(y)), x.shape[2:], mode="bilinear")
        return torch.cat([x, y], 1)


class Spread(nn.Module):
    """Its forward sees all voxels or each alone."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 6)

    def forward(self, x):
        y = self.conv(x)
        y = self.linear(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return y + self.conv(x).mean((2, 3), keepdim=True)


class Normed(nn.Module):
    """Its batch norm goes into a convolution that a folded forward calls."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)

    def forward(self, x):
        return F.avg_pool2d(self.norm(self.conv(x)), 2)


class Averaged(nn.Module):
    """A video network that averages the clip in its own code."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 6, 3, padding=1)
        self.pool, self.head = nn.AdaptiveAvgPool3d(1), nn.Linear(6, 4)

    def forward(self, x):
        y = self.conv(x)
        y = y * y.mean((2, 3, 4), keepdim=True).sigmoid()
        return self.head(self.pool(y).flatten(1))


def first_conv_3d(path, module):
    return path != "b"


EXAMPLE = torch.randn(1, 3, 8, 16, 16)
MECHANISMS = {
    "depth in the batch": lambda: convert(Stacked(), ACS()),
    "depth in height": lambda: convert(Spread(), ACS()),
    "soft views": lambda: convert(Stacked(), SoftACS()),
    "inflated": lambda: convert(Stacked(), Inflate()),
    "modules alone": lambda: convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2)), ACS()),
    "graph": lambda: convert(fx.symbolic_trace(Stacked()), ACS()),
    "slices": lambda: convert(Stacked(), ACS(), where=first_conv_3d),
    "fused batch norms": lambda: fold(convert(Normed().eval(), ACS())),
    "causal": lambda: convert(Averaged(), Dissect()),
    "lean": lambda: convert(Averaged(), ParallelSeparable(), example=EXAMPLE),
    "back in 2D and converted again": lambda: convert(unconvert(convert(Stacked(), ACS())), ACS()),
}


@pytest.fixture(params=MECHANISMS, scope="module")
def converted(request):
    torch.manual_seed(0)
    return MECHANISMS[request.param]().eval()


@pytest.fixture
def model(converted):
    return copy.deepcopy(converted)


@pytest.mark.parametrize("threads", [2, 8])
def test_one_model_is_right_in_every_thread(model, threads):
    inputs = [torch.randn(1, 3, 8 + 2 * (i % 4), 16, 12) for i in range(threads)]
    assert mistakes([model] * threads, inputs, times=16 // threads) == []


def test_it_is_right_after_calls_that_raised(model):
    inputs = [torch.randn(1, 3, 8, 12, 16), torch.randn(2, 3, 10, 16, 12)]
    assert mistakes([model] * 2, inputs, times=6, spoil=torch.randn(1, 2, 8, 8, 8)) == []


def test_models_are_right_beside_each_other():
    models = [convert(Stacked().eval(), ACS()), convert(Spread().eval(), Inflate())] * 2
    inputs = [torch.randn(1, 3, 8 + 2 * i, 12, 12) for i in range(4)]
    assert mistakes(models, inputs, times=8) == []


def test_replicas_of_data_parallel_use_their_own_weights(model):
    replicas = [replicate(model, scale) for scale in (1.0, 2.0, 3.0)]
    expected = [copy.deepcopy(model) for _ in replicas]
    for scale, other in zip((1.0, 2.0, 3.0), expected, strict=True):
        for parameter in other.parameters():
            parameter.data *= scale
    x = torch.randn(2, 3, 8, 12, 16)
    with torch.no_grad():
        right = [other(x) for other in expected]
    found = {}

    def run(index):
        with torch.no_grad():
            found[index] = replicas[index](x)

    assert together([lambda i=i: run(i) for i in range(3)]) == []
    for index, answer in enumerate(right):
        torch.testing.assert_close(found[index], answer)


def replicate(model, scale):
    """A copy as nn.DataParallel makes one for every GPU, with weights of its own."""
    modules = list(model.modules())
    copies = [module._replicate_for_data_parallel() for module in modules]
    place = {module: index for index, module in enumerate(modules)}
    for module, other in zip(modules, copies, strict=True):
        for name, child in module._modules.items():
            other._modules[name] = None if child is None else copies[place[child]]
        for name, parameter in module._parameters.items():
            other._parameters[name] = None if parameter is None else parameter * scale
        other._buffers = dict(module._buffers)
    return copies[0]


class Padded(nn.Module):
    """Pads by what may be another number at every call."""

    def __init__(self):
        super().__init__()
        self.conv, self.more = nn.Conv2d(1, 1, 1), 1

    def forward(self, x):
        return self.conv(F.pad(x, (self.more, 0, 0, 0)))


def test_modules_made_for_functions_are_not_kept_for_ever():
    deep, x = convert(Padded(), ACS()), torch.randn(1, 1, 2, 2, 2)
    for more in range(MOST + 50):
        deep.more = more
        assert deep(x).shape == (1, 1, 2, 2, 2 + more)
    assert len(_LOCAL.made) <= MOST
    kept = []
    assert together([lambda: kept.append(getattr(_LOCAL, "made", None))]) == []
    assert kept == [None]


@pytest.mark.slow
def test_eight_threads_convert_one_model():
    flat, made = Stacked().eval(), []
    x = torch.randn(1, 3, 6, 8, 10)
    right = convert(flat, ACS())(x)
    assert together([lambda: made.append(convert(flat, ACS()))] * 8) == []
    assert all(torch.equal(deep(x), right) for deep in made)


class Watching(nn.Module):
    """While it runs, a new thread notes what that thread would work with."""

    def __init__(self, inside, notes):
        super().__init__()
        self.inside, self.notes = inside, notes

    def forward(self, x):
        def note():
            filters = [entry[0] for entry in warnings.filters]
            draw = torch.randn(1).item()
            self.notes.append((torch.get_num_threads(), filters, sys.stderr, draw))

        thread = threading.Thread(target=note)
        thread.start()
        thread.join()
        assert not x.is_meta  # so that its trial runs have values
        return self.inside(x)

    def __deepcopy__(self, memo):
        return Watching(copy.deepcopy(self.inside, memo), self.notes)


def dropping(notes):
    return Watching(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Dropout(0.5)), notes)


CONVERSIONS = {
    "from 2D": lambda notes: convert(dropping(notes), ACS()),
    "of a graph": lambda notes: convert(
        nn.Sequential(fx.symbolic_trace(Stacked()), Watching(nn.Conv2d(9, 4, 3), notes)), ACS()
    ),
    "with other ends": lambda notes: convert(dropping(notes), ACS(), in_channels=1),
    "lean": lambda notes: convert(Watching(Averaged(), notes), ParallelSeparable()),
    "causal": lambda notes: convert(Watching(Averaged(), notes), Dissect()),
}


@pytest.mark.parametrize("conversion", CONVERSIONS.values(), ids=CONVERSIONS.keys())
def test_threads_beside_a_conversion_work_as_if_there_were_none(conversion):
    notes, filters = [], [entry[0] for entry in warnings.filters]
    cores = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        conversion(notes)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(cores)
    assert len(notes) > 2
    assert {note[0] for note in notes} == {3}
    assert all(note[1] == filters and note[2] is sys.stderr for note in notes)


def test_a_conversion_draws_from_nobody():
    notes = []
    for make in (dropping, lambda notes: Watching(Averaged(), notes)):
        model = make(notes)
        notes.clear()
        torch.manual_seed(3)
        how = ACS() if make is dropping else ParallelSeparable()
        convert(model, how)
        torch.manual_seed(3)
        assert [note[3] for note in notes] == [torch.randn(1).item() for _ in notes]


class Guarded(nn.Module):
    """Holds what cannot be copied, and says itself how it is."""

    def __init__(self):
        super().__init__()
        self.conv, self.lock = nn.Conv2d(3, 4, 3, padding=1), threading.Lock()

    def forward(self, x):
        return F.interpolate(self.conv(x), scale_factor=2, mode="bilinear")

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state):
        super().__setstate__(state)
        self.lock = threading.Lock()


def test_a_class_says_itself_how_it_is_copied():
    deep, x = convert(Guarded().eval(), ACS()), torch.randn(1, 3, 4, 6, 8)
    for other in (copy.deepcopy(deep), pickle.loads(pickle.dumps(deep))):
        assert torch.equal(other(x), deep(x))
        assert other.lock is not deep.lock
