import csv
import dataclasses
import io
import json

import pytest
import torch
import torch.utils.checkpoint
from torch import nn

from lean3d.cost import Cost, count
from lean3d.errors import LeanError, ShapeError


def small_net():
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.Sequential(nn.Conv3d(4, 8, 3, stride=2), nn.ReLU(inplace=True)),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


LAYERS = {
    "conv1d": (nn.Conv1d(4, 6, 5, stride=2), (2, 4, 21), 2 * 9 * 6 * 4 * 5),
    "conv2d": (nn.Conv2d(3, 8, (3, 5), padding=(1, 2)), (1, 3, 7, 9), 7 * 9 * 8 * 3 * 15),
    "conv3d": (nn.Conv3d(3, 8, 3, dilation=2), (2, 3, 9, 8, 7), 2 * 5 * 4 * 3 * 8 * 3 * 27),
    "grouped": (nn.Conv3d(8, 12, 3, padding=1, groups=4), (1, 8, 4, 5, 6), 120 * 12 * 2 * 27),
    "depthwise": (nn.Conv3d(8, 8, 3, padding=1, groups=8), (1, 8, 4, 5, 6), 120 * 8 * 27),
    "circular": (nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular"), (1, 3, 7, 9), 63 * 8 * 27),
    "transposed": (nn.ConvTranspose3d(6, 4, 2, stride=2), (2, 6, 3, 4, 5), 2 * 60 * 6 * 4 * 8),
    "grouped up": (nn.ConvTranspose2d(6, 4, 3, groups=2), (1, 6, 5, 5), 25 * 6 * 2 * 9),
    "linear": (nn.Linear(7, 5), (3, 7), 3 * 7 * 5),
    "linear rows": (nn.Linear(7, 5, bias=False), (3, 2, 7), 6 * 7 * 5),
    "one linear": (nn.Linear(7, 5), (7,), 7 * 5),
    "lstm": (nn.LSTM(5, 6, 2), (4, 1, 5), 4 * 4 * 6 * ((5 + 6) + (6 + 6))),
    "gru": (nn.GRU(5, 6, batch_first=True), (2, 4, 5), 2 * 4 * 3 * 6 * (5 + 6)),
    "both ways": (nn.LSTM(5, 6, bidirectional=True), (4, 2, 5), 2 * 2 * 4 * 4 * 6 * (5 + 6)),
    "free": (nn.Sequential(nn.BatchNorm3d(3), nn.ReLU(), nn.MaxPool3d(2)), (1, 3, 4, 4, 4), 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_multiply_adds_are_those_of_the_formula(name):
    layer, shape, macs = LAYERS[name]
    cost = count(layer, shape)
    assert (cost.macs, cost.flops) == (macs, 2 * macs)


def test_attention_counts_its_projections_and_both_products():
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    cost = count(layer, ((1, 5, 8), (1, 7, 8), (1, 7, 8)))
    assert cost.macs == (5 * 8 + 2 * 7 * 8 + 5 * 8) * 8 + 2 * 5 * 7 * 8
    linear = count(layer, ((1, 5, 8), (1, 7, 8), (1, 7, 8)), profile="csn")
    assert linear.macs == (5 * 8 + 2 * 7 * 8 + 5 * 8) * 8


def test_a_model_that_enters_inference_mode_costs_the_same():
    class Inference(nn.Sequential):
        @torch.inference_mode()
        def forward(self, x):
            return super().forward(x)

    layers = nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 5)
    assert count(Inference(*layers), (1, 3, 4, 4)).macs == 4 * 8 * 27 + 32 * 5


def test_each_call_is_credited_to_the_module_that_made_it():
    cost = count(small_net(), (1, 1, 9, 9, 9))
    macs = {layer.path: layer.macs for layer in cost.layers if layer.macs}
    assert macs == {"0": 729 * 4 * 27, "3.0": 64 * 8 * 4 * 27, "6": 40}
    shapes = {layer.path: layer.output_shape for layer in cost.layers}
    assert shapes["3.0"] == shapes["3"] == (1, 8, 4, 4, 4)


@pytest.mark.parametrize(
    "name", ["params", "macs", "interactions", "activation_bytes", "moved_bytes"]
)
def test_layers_add_up_to_the_total(name):
    cost = count(small_net(), (1, 1, 9, 9, 9))
    assert getattr(cost, name) == sum(getattr(layer, name) for layer in cost.layers) > 0


def test_calls_of_a_functional_forward_are_credited_to_the_model_itself():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(2, 1, 3))

        def forward(self, x):
            return torch.conv1d(x, self.kernel)

    (layer,) = count(Functional(), (1, 1, 10)).layers
    assert (layer.path, layer.macs, layer.params) == ("", 8 * 2 * 3, 6)


def test_a_module_called_twice_works_twice_and_has_its_parameters_and_interactions_once():
    shared = nn.Conv2d(4, 4, 1, bias=False)
    cost = count(nn.Sequential(shared, nn.ReLU(), shared), (1, 4, 5, 5))
    assert (cost.macs, cost.params, cost.interactions) == (2 * 25 * 16, 16, 4 * 6)


def test_a_tied_weight_is_counted_once():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    cost = count(net, (1, 4))
    assert (cost.params, cost.weights, cost.model_bytes) == (24, 16, 96)
    assert sum(layer.params for layer in cost.layers) == 24


def test_parameters_of_modules_that_never_run_are_still_listed():
    class Spare(nn.Linear):
        def __init__(self):
            super().__init__(4, 2)
            self.spare = nn.Linear(3, 3)

    cost = count(Spare(), (1, 4))
    assert cost.params == 10 + 12
    assert ("spare", (), 12, 0) in [(r.path, r.output_shape, r.params, r.macs) for r in cost.layers]


def test_weights_leave_out_biases_and_norms():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm((2, 2)), nn.BatchNorm2d(4), nn.PReLU())
    assert count(net, (1, 3, 4, 4)).weights == 4 * 27


def test_frozen_and_half_precision_parameters_are_counted_in_their_own_bytes():
    net = nn.Conv2d(3, 4, 3).half().requires_grad_(False)
    cost = count(net, (1, 3, 4, 4))
    assert (cost.params, cost.model_bytes) == (112, 224)
    assert cost.activation_bytes == 4 * 4 * 2


def test_activations_count_what_is_created_and_the_peak_what_lives_at_once():
    net = nn.Sequential(
        nn.Conv1d(1, 2, 1), nn.Flatten(), nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU()
    )
    cost = count(net, (1, 1, 100))
    # the convolution, the first and the last ReLU; views and in-place calls make nothing
    assert cost.activation_bytes == 3 * 800
    assert cost.peak_activation_bytes == 400 + 2 * 800


def test_a_training_pass_holds_weights_gradients_and_what_backward_needs():
    net = nn.Sequential(nn.Conv1d(1, 2, 1), nn.ReLU(), nn.ReLU())
    # at the height: the input, what both ReLUs kept, the gradients before and after one of them,
    # four parameters, and the sum that is differentiated, with its gradient
    assert count(net, (1, 1, 100), training=True).training_peak_bytes == 400 + 4 * 800 + 16 + 8


def test_recomputed_activations_are_not_held_in_training():
    class Checkpointed(nn.Sequential):
        def forward(self, x):
            for layer in self:
                x = torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False)
            return x

    def blocks():
        return [nn.Sequential(*(nn.Conv1d(4, 4, 1) for _ in range(4))) for _ in range(4)]

    held = [
        count(kind(*blocks()), (1, 4, 1000), training=True).training_peak_bytes
        for kind in (Checkpointed, nn.Sequential)
    ]
    assert held[0] < 0.7 * held[1]


def test_what_cannot_be_trained_has_no_training_peak():
    frozen = nn.Conv1d(1, 2, 3).requires_grad_(False)
    assert count(frozen, (1, 1, 9), training=True).training_peak_bytes is None


def test_a_backward_pass_is_followed_where_asked():
    net, passed = nn.Conv1d(1, 2, 3), []
    net.register_forward_hook(lambda *_: passed.append(torch.is_grad_enabled()))
    quiet, both = count(net, (1, 1, 9)), count(net, (1, 1, 9), training=True)
    assert passed == [False, False, True]
    assert quiet == dataclasses.replace(both, training_peak_bytes=None)
    assert "in training" in both.table()
    assert "in training" not in quiet.table()


def test_moved_bytes_are_read_once_and_written_once_by_each_call():
    conv = nn.Conv1d(2, 3, 1)
    net = nn.Sequential(conv, nn.Flatten(), nn.ReLU(inplace=True))
    first, _, relu = (layer for layer in count(net, (1, 2, 100)).layers if layer.path)
    assert first.moved_bytes == 4 * (200 + 6 + 3 + 300)
    assert first.macs_per_byte == 600 / (4 * 509)
    assert relu.moved_bytes == 4 * (300 + 300)


def test_buffers_are_counted_beside_the_model():
    assert count(nn.BatchNorm1d(5), (2, 5)).buffer_bytes == 2 * 5 * 4 + 8


def test_stages_sum_the_layers_that_share_the_first_names_of_their_paths():
    cost = count(small_net(), (1, 1, 9, 9, 9))
    assert [stage.path for stage in cost.stages()] == ["", "0", "1", "2", "3", "4", "5", "6"]
    stage = cost.stages()[4]
    assert (stage.type, stage.output_shape) == ("Sequential", (1, 8, 4, 4, 4))
    assert (stage.params, stage.macs) == (4 * 8 * 27 + 8, 64 * 8 * 4 * 27)
    assert cost.stages(2) == cost.layers


def test_a_stage_without_a_call_of_its_own_is_named_by_its_members():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.steps = nn.ModuleList([nn.Conv1d(1, 2, 1), nn.Conv1d(2, 3, 1)])

        def forward(self, x):
            return self.steps[1](self.steps[0](x))

    _, steps = count(Listed(), (1, 1, 9)).stages()
    assert (steps.path, steps.type, steps.output_shape) == ("steps", "2 modules", (1, 3, 9))


def test_csv_has_a_line_for_each_layer_or_stage():
    cost = count(small_net(), (1, 1, 9, 9, 9))
    rows = list(csv.DictReader(io.StringIO(cost.csv())))
    assert [row["path"] for row in rows] == [layer.path for layer in cost.layers]
    assert [int(row["macs"]) for row in rows] == [layer.macs for layer in cost.layers]
    assert rows[1]["output"] == "1x4x9x9x9"
    assert len(cost.csv(stages=1).splitlines()) == 1 + len(cost.stages())


@pytest.mark.parametrize("name", ["weight", "training", "hooks", "batches"])
def test_counting_leaves_the_model_as_it_was(name):
    def state(net):
        return {
            "weight": net[0].weight.device.type,
            "training": net.training,
            "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()),
            "batches": int(net[1].num_batches_tracked),
        }[name]

    net = small_net().train()
    before = state(net)
    count(net, (2, 1, 9, 9, 9))
    assert state(net) == before


def test_a_model_already_on_meta_and_one_with_loose_tensors_can_be_counted():
    class Loose(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.ones(4) * torch.ones(4, requires_grad=True)
            self.extra = [nn.Parameter(torch.ones(1))]
            self.conv = nn.Conv1d(4, 2, 1, device="meta")

        def forward(self, x):
            steps = torch.arange(x.shape[-1], device=x.device) + torch.ones(1)
            return self.conv(x * self.scale[:, None] * steps * self.extra[0])

    model = Loose()
    assert count(model, (1, 4, 3)).macs == 24
    assert model.scale.device.type == "cpu"


def test_says_which_module_failed_on_which_shape():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.ReLU(), nn.Linear(9, 2)))
    with pytest.raises(ShapeError, match=r"1\.1 \(Linear\) cannot run on input \(1, 4, 3, 5\)"):
        count(net, (1, 1, 5, 7))


def test_says_which_module_needs_values():
    class Gate(nn.Module):
        def forward(self, x):
            return x if x.sum().item() > 0 else -x

    with pytest.raises(LeanError, match=r"0 \(Gate\) on input \(1, 4\): it needs the values"):
        count(nn.Sequential(Gate()), (1, 4))


def test_a_model_that_cannot_be_copied_is_refused():
    class Stuck(nn.Linear):
        def __deepcopy__(self, memo):
            raise TypeError("open file")

    with pytest.raises(LeanError, match="Stuck cannot be copied: open file"):
        count(Stuck(2, 2), (1, 2))


MANY = torch.zeros(1).expand(10**9)


@pytest.mark.parametrize("shape", [(), ((),), (1, 0, 3), "13", 5, ((1, 2), 3), (1, 2.5), MANY])
def test_refuses_what_is_not_a_shape(shape):
    with pytest.raises(ShapeError, match="count needs an input shape"):
        count(nn.Linear(2, 2), shape)


def test_refuses_an_unknown_profile():
    with pytest.raises(LeanError, match="choose one of macs, csn, thop"):
        count(nn.Linear(2, 2), (1, 2), profile="flops")


def test_the_dict_is_json_and_holds_every_field():
    cost = count(small_net(), (1, 1, 9, 9, 9))
    row = json.loads(json.dumps(cost.to_dict()))
    assert row["flops"] == cost.flops
    assert set(row) == {*Cost.__dataclass_fields__, "flops"}
    assert [layer["path"] for layer in row["layers"]] == [layer.path for layer in cost.layers]


def test_the_table_is_aligned_and_ends_in_the_totals():
    cost = count(small_net(), (1, 1, 9, 9, 9))
    lines = str(cost).splitlines()
    head, total = lines[0], lines[-3]
    assert len({len(line) for line in lines[:-2]}) == 1
    assert "KMACs" in head
    assert "activations (MiB)" in head
    assert f"{cost.macs / 1e3:,.3f}" in total
    assert "FLOPs (2 per MAC)" in lines[-2]


def test_the_unit_of_the_table_follows_the_size():
    heads = [str(count(nn.Linear(n, n, bias=False), (1, n))).splitlines()[0] for n in (2, 2000)]
    assert "  MACs  " in heads[0]
    assert "params (M)  MMACs" in heads[1]
