"""lean3d.lighten on small networks."""

import contextlib
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import lean3d
from lean3d import ops
from lean3d.errors import LeanError
from lean3d.lightening import CUTS, clock, restructure
from lean3d.lightening.times import Times


def block(channels, out):
    return nn.Sequential(
        nn.Conv3d(channels, out, 3, padding=1, bias=False),
        nn.BatchNorm3d(out),
        nn.ReLU(inplace=True),
    )


def net():
    """A network whose kernels are nearly (1, k, k) by (k, 1, 1): some forms are far better."""
    torch.manual_seed(0)
    model = nn.Sequential(
        block(1, 16), block(16, 16), nn.MaxPool3d(2), block(16, 16), nn.Conv3d(16, 3, 1)
    )
    with torch.no_grad():
        for conv in (model[0][0], model[1][0], model[3][0]):
            near, error = lean3d.decompose(conv, lean3d.SpaceTime("rank1", mid_channels=8))
            assert error > 0.1
            conv.weight.copy_(near.dense_weight() + 0.01 * torch.randn_like(conv.weight))
        model(torch.randn(4, 1, 8, 16, 16))
    return model.eval()


@pytest.fixture(scope="module")
def samples():
    return torch.randn(3, 1, 8, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def light(samples):
    return lean3d.lighten(net(), samples[:1], macs=0.4, data=samples, cuts=["time", "channels"])


def test_the_target_is_met_and_the_outputs_stay_near(light, samples):
    record, before = light.lightening, net()
    macs = lean3d.count(light, samples[:1].shape).macs
    assert record.measured == macs <= 0.4 * lean3d.count(before, samples[:1].shape).macs
    assert record.predicted == macs
    with torch.no_grad():
        wanted = before(samples)
        missed = (light(samples) - wanted).norm() / (wanted - wanted.mean()).norm()
    assert missed < 0.15


@pytest.mark.parametrize("cut", ["time", "channels"])
def test_the_mixture_is_no_worse_than_a_cut_alone(light, samples, cut):
    alone = lean3d.lighten(net(), samples[:1], macs=0.4, data=samples, cuts=[cut])
    errors = [sum(x.error for x in one.lightening.layers) for one in (light, alone)]
    assert errors[0] <= errors[1]
    word = {"time": "SpaceTime", "channels": "inputs"}[cut]
    assert any(word in layer.after for layer in alone.lightening.layers)


def test_the_network_that_was_given_stays_as_it_was(light):
    fresh = net()
    assert not hasattr(fresh, "lightening")
    assert [type(m).__name__ for m in fresh.modules()].count("Conv3d") == 4


def test_cuts_build_the_same_network(light, samples):
    again = restructure(net(), light.lightening.cuts).eval()
    again.load_state_dict(light.state_dict())
    with torch.no_grad():
        assert torch.equal(again(samples), light(samples))


def test_the_record_is_plain_and_its_table_names_every_convolution(light):
    record = json.loads(json.dumps(light.lightening.to_dict()))
    text = str(light.lightening)
    for layer in record["layers"]:
        assert layer["path"] in text
    assert record["cuts"] == [str(cut) for cut in light.lightening.cuts]
    assert record["ratio"] == pytest.approx(light.lightening.measured / light.lightening.before)


@pytest.mark.parametrize("target", [{"params": 0.7}, {"memory": 0.98}], ids=str)
def test_other_targets(target, samples):
    model = net()
    light = lean3d.lighten(model, samples[:1], data=samples, cuts=["channels"], **target)
    ((kind, share),) = target.items()

    def cost(network):
        found = lean3d.count(network, samples[:1].shape)
        if kind == "memory":
            return found.model_bytes + found.peak_activation_bytes
        return found.params

    assert cost(light) <= 1.02 * share * cost(model)
    assert light.lightening.measured == cost(light)


@pytest.fixture
def by_work(monkeypatch):
    """Let time pass by multiply-adds alone, 100 billion a second."""
    passed = [0.0]
    forward = nn.Conv3d._conv_forward

    def work(self, x, weight, bias):
        output = forward(self, x, weight, bias)
        passed[0] += 1e-11 * output.numel() * weight[0].numel()
        return output

    def now():
        return passed[0]

    monkeypatch.setattr(nn.Conv3d, "_conv_forward", work)
    names = "process_time", "perf_counter", "monotonic"
    monkeypatch.setattr(clock, "time", SimpleNamespace(**dict.fromkeys(names, now)))


def test_less_time_is_predicted_measured_and_kept(tmp_path, by_work):
    torch.manual_seed(0)
    model = nn.Sequential(block(16, 64), block(64, 64), nn.Conv3d(64, 3, 1))
    given = torch.randn(1, 16, 8, 16, 16)
    more = dict(cuts=["channels"], backends=["eager"], table=tmp_path)
    light = lean3d.lighten(model, given, time=0.6, data=given, **more)
    record = light.lightening
    assert record.backend == "eager"
    assert 0.4 < record.ratio <= 0.61
    assert record.predicted == pytest.approx(record.measured, rel=0.05)
    times = Times(tmp_path, "eager", "float32", "cpu")
    assert times.known
    assert all(0 < ratio < 50 for ratio in times.known.values())
    assert str(torch.__version__) in record.machine


def test_a_damaged_table_is_an_empty_one(tmp_path):
    (tmp_path / "times.json").write_text('{"a": [')
    times = Times(tmp_path, "eager")
    assert times.known == {}
    times.put("form", 0.5)
    times.save()
    assert Times(tmp_path, "eager").get("form") == 0.5
    assert Times(tmp_path, "fused").get("form") is None


def test_the_least_that_can_be_asked_for_can_be_asked_for(samples):
    more = dict(cuts=["channels"], data=samples)
    with pytest.raises(LeanError, match="the least that can be asked for is macs=") as refused:
        lean3d.lighten(net(), samples[:1], macs=0.01, **more)
    share = float(str(refused.value).rpartition("=")[2])
    assert lean3d.lighten(net(), samples[:1], macs=share, **more).lightening.ratio <= share


def test_bytes_are_never_above_the_target():
    torch.manual_seed(0)

    class Skip(nn.Module):
        """Most is kept while two maps are added, which no convolution tells."""

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv3d(2, 16, 1), nn.Conv3d(16, 16, 3, padding=1)
            self.c = nn.Conv3d(16, 16, 3, padding=1)

        def forward(self, x):
            y = self.a(x)
            return y + self.c(torch.relu(self.b(y)).flip(2).flip(2))

    model, given = Skip().eval(), torch.randn(1, 2, 8, 16, 16)
    with pytest.raises(LeanError, match="the least that can be asked for is memory=") as refused:
        lean3d.lighten(model, given, memory=0.83, cuts=["groups", "channels"])
    share = float(str(refused.value).rpartition("=")[2])
    assert (
        lean3d.lighten(model, given, memory=share, cuts=["groups", "channels"]).lightening.ratio
        <= share
    )


def test_of_memory_several_networks_are_counted_and_the_best_is_taken(monkeypatch):
    """The skip of a U-Net waits beside other maps, so that costs of forms do not add up."""
    torch.manual_seed(0)
    model = lean3d.create_model("unet3d", num_classes=3, widths=(8, 16)).eval()
    x = torch.randn(2, 1, 16, 16, 16)

    def found():
        return lean3d.lighten(model, x[:1], memory=0.5, data=x, cuts=["channels"]).lightening

    best = found()
    monkeypatch.setattr("lean3d.lightening.api.HALVINGS", 0)
    first = found()
    errors = [sum(layer.error for layer in record.layers) for record in (best, first)]
    assert errors[0] < 0.95 * errors[1]
    assert first.ratio < best.ratio <= 0.5
    assert best.predicted == best.measured


@pytest.mark.slow
def test_a_layer_that_sees_one_position_does_not_decide_alone():
    torch.manual_seed(0)

    class Squeezed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = block(1, 16), block(16, 16)
            self.squeeze, self.excite = nn.Conv3d(16, 8, 1), nn.Conv3d(8, 16, 1)

        def forward(self, x):
            y = self.a(x)
            z = torch.relu(self.squeeze(y.mean((2, 3, 4), keepdim=True)))
            return self.b(y * torch.sigmoid(self.excite(z)))

    model = Squeezed().eval()
    # one sample, so that the outputs of squeeze and excite have no variance
    light = lean3d.lighten(model, torch.randn(1, 1, 8, 16, 16), macs=0.9, criterion="output")
    assert 0.6 < light.lightening.ratio <= 0.9


def test_weights_that_are_computed_from_others_stay_so(samples):
    model = net()
    nn.utils.parametrizations.weight_norm(model[3][0])
    light = lean3d.lighten(model, samples[:1], macs=0.7, data=samples, cuts=["time"])
    assert nn.utils.parametrize.is_parametrized(light[3][0])
    assert light.lightening.ratio <= 0.7


class of(nn.Module):  # noqa: N801
    """The network with something done to its output."""

    def __init__(self, change, around=contextlib.nullcontext):
        super().__init__()
        self.net, self.change, self.around = net(), change, around

    def forward(self, x):
        with self.around():
            return self.change(self.net(x))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(2, 2, 3, padding=1)

    def forward(self, x):
        return self.conv(self.conv(x))


def spoilt():
    model = net()
    model[0][0].weight.data[0] = torch.nan
    return model


LABELLED = {"data": [(torch.ones(1, 1, 8, 16, 16), torch.zeros(2))]}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"macs": None}, "one of time, macs, params, memory, step, state as its target, got none"),
        ({"time": 0.5}, "got time and macs"),
        ({"macs": -1}, "macs is a share up to 1 of the network's own, or multiply-adds, got"),
        ({"macs": float("nan")}, "macs is a share"),
        ({"cuts": ["chans"]}, "no cut 'chans'; there are views"),
        ({"cuts": []}, "cuts is a list of some of views"),
        ({"criterion": "hessian"}, "criterion is one of fisher"),
        ({"data": torch.randn(2, 1, 8, 16, 15)}, r"data has samples of shape \(1, 8, 16, 15\)"),
        ({"data": torch.full((1, 1, 8, 16, 16), torch.nan)}, "NaN or infinity"),
        ({"data": []}, "holds no batch"),
        ({"data": 3}, "data is a tensor or batches"),
        ({"data": "folder"}, "data is a tensor or batches"),
        ({"data": [()]}, "data is batches of tensors"),
        ({"data": torch.ones(0, 1, 8, 16, 16)}, "a batch of data is empty"),
        ({"data": torch.ones(1, 1, 8, 16, 16, device="meta")}, "holds no values"),
        ({"data": torch.ones(1, 1, 8, 16, 16).double()}, "data is of torch.float64, the example"),
        ({"data": None, "example": torch.full((1, 1, 8, 16, 16), torch.nan)}, "example holds NaN"),
        ({"example": (torch.ones(1), torch.ones(1))}, "networks of one input alone"),
        ({"loss": "mse"}, "loss is a function of output and target"),
        ({"loss": nn.functional.mse_loss}, "loss= needs targets"),
        ({"loss": nn.functional.nll_loss, **LABELLED}, "loss= fails: ValueError"),
        ({"loss": lambda y, _: y.mean((2, 3, 4)), **LABELLED}, "loss= gives one number with a"),
        ({"loss": lambda y, _: y.sum() * torch.nan, **LABELLED}, "or their loss, are NaN"),
        ({"precision": "fp8"}, "precision is one of float32, bfloat16"),
        ({"backends": "fused"}, "backends is a list of names"),
        ({"backends": ["fused"]}, "macs=0.5 is counted, not timed; leave out backends="),
        ({"table": 3}, "table is a folder or None"),
        ({"cuts": [["time"]]}, "there is no cut"),
        ({"macs": None, "time": 0.5, "budget_s": 1e-9, "table": None}, "no form could be timed"),
        ({"example": torch.randn(1, 2, 8, 16, 16)}, "does not run on example"),
        ({"budget_s": 0}, "budget_s is seconds above 0"),
        (
            {"model": nn.Conv3d(1, 4, 3), "example": torch.ones(1, 8, 16, 16), "data": None},
            "the network gets maps of shape .1, 8, 16, 16., without a batch",
        ),
        ({"model": spoilt()}, "0.0.weight holds NaN or infinity; give a trained network"),
        (
            {"model": Twice(), "example": torch.ones(1, 2, 4, 4, 4), "data": None, "cuts": [*CUTS]},
            "are called more than once, or share or compute their weights",
        ),
        (
            {"model": nn.Sequential(nn.Flatten(), nn.Linear(2048, 3))},
            "no dense 3D convolution .*; give a network of 3D convolutions",
        ),
        ({"model": nn.Conv3d(1, 3, 3), "cuts": ["channels"]}, "by channels; allow more cuts"),
        (
            {"model": nn.Conv3d(1, 4, 3, padding=1), "macs": None, "memory": 0.5, "cuts": ["time"]},
            "with these cuts no less; allow more",
        ),
        ({"model": ops.ACSConv3d(1, 3, 3)}, "are ACSConv3d already; give dense ones"),
        ({"model": of(lambda y: y.argmax(1))}, "has a gradient; give it without argmax"),
        ({"model": of(lambda y: y, torch.no_grad)}, r"runs it under torch.no_grad\(\)"),
        ({"model": of(lambda y: y * torch.nan)}, "are NaN or infinite"),
        (
            {"model": torch.compile(net(), backend="eager")},
            "is compiled; give the network that it was made of",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_gets_one_sentence(change, why, samples):
    given = dict(model=net(), example=samples[:1], macs=0.5, data=samples, cuts=["time"]) | change
    with pytest.raises(LeanError, match=why) as refused:
        lean3d.lighten(**given)
    assert len(str(refused.value).splitlines()) == 1


def test_it_is_called_outside_inference_mode(samples):
    with torch.inference_mode(), pytest.raises(LeanError, match="outside torch"):
        lean3d.lighten(net(), samples[:1], macs=0.5)


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_two_convolutions_in_a_row_may_have_few_outputs(outputs):
    model = nn.Sequential(
        nn.Conv3d(2, 16, 3, padding=1), nn.ReLU(), nn.Conv3d(16, outputs, 3, padding=1)
    )
    x = torch.randn(1, 2, 6, 6, 6)
    light = lean3d.lighten(model.eval(), x, macs=0.5)
    assert light.lightening.ratio <= 0.5
    assert light(x).shape == (1, outputs, 6, 6, 6)


def test_norms_that_see_one_value_a_channel_keep_their_statistics():
    model = nn.Sequential(
        nn.Conv3d(2, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv3d(8, 8, 3, padding=1),
        nn.AdaptiveAvgPool3d(1),
        nn.BatchNorm3d(8),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    x = torch.randn(1, 2, 6, 6, 6)
    light = lean3d.lighten(model.eval(), x, macs=0.6, data=[x, x + 1], cuts=["time", "channels"])
    assert light(x).isfinite().all()


def test_a_summary_says_by_how_much_a_time_was_missed(light):
    record = replace(light.lightening, wanted=light.lightening.measured / 1.04)
    assert record.summary().endswith("missed by 4.0%, about what two measurements differ by")
    assert "missed" not in light.lightening.summary()


def test_cuts_of_a_network_that_was_lightened_twice_follow_each_other(samples):
    model = net()
    once = lean3d.lighten(model, samples[:1], macs=0.6, data=samples, cuts=["time"])
    twice = lean3d.lighten(once, samples[:1], macs=0.6, data=samples, cuts=["channels", "time"])
    cuts = [*once.lightening.cuts, *twice.lightening.cuts]
    again = restructure(net(), cuts)
    again.load_state_dict(twice.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(samples), twice(samples))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_networks_in_other_precisions_are_timed_in_theirs(dtype, by_work):
    x = torch.randn(1, 1, 8, 16, 16, dtype=dtype)
    how = dict(time=0.6, backends=["eager"], cuts=["channels"], table=None)
    light = lean3d.lighten(net().to(dtype), x, **how)
    assert light(x).dtype == dtype
    assert light.lightening.ratio <= 0.62


def test_random_numbers_of_the_caller_do_not_change(samples):
    model, before = net(), torch.get_rng_state()
    lean3d.lighten(model, samples[:1], macs=0.5, cuts=["time"])
    with pytest.raises(LeanError, match="cannot be met"):
        lean3d.lighten(model, samples[:1], macs=0.001, cuts=["time"])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_norms_count_the_batches_that_the_network_learnt_from(samples, momentum):
    model = net()
    for norm in (model[0][1], model[1][1]):
        norm.momentum = momentum
        norm.num_batches_tracked.fill_(50)
    light = lean3d.lighten(model, samples[:1], macs=0.5, data=samples, cuts=["time"])
    assert light[0][1].num_batches_tracked == light[1][1].num_batches_tracked == 50
    assert light[0][1].momentum == momentum


@pytest.mark.parametrize(
    ("seconds", "why"),
    [
        (1e-3, "no form could be timed that is faster; give more seconds"),
        (0.1, "asked for is time=.*; not all forms were timed: give more seconds"),
    ],
)
def test_a_refusal_says_that_forms_were_not_timed(by_work, seconds, why):
    how = dict(backends=["eager"], table=None, budget_s=seconds, time=0.02)
    with pytest.raises(LeanError, match=why):
        lean3d.lighten(net(), torch.randn(1, 1, 8, 16, 16), **how)
