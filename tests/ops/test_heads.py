from itertools import pairwise

import pytest
import torch
from torch import nn

from lean3d.errors import LeanError, ShapeError
from lean3d.ops.causal_pools import (
    CausalAvgPool3d,
    CausalMaxPool3d,
    LastFrames,
    Past,
    RunningMean,
    WithPrevious,
)
from lean3d.ops.heads import EmbeddingHead, MeanHead, RecurrentHead, WindowHead
from lean3d.ops.memory import Memory, every_frame, remember

HEADS = {
    "fc": lambda: WindowHead(6, 5, window=4),
    "fc_zeros": lambda: WindowHead(6, 5, window=4, first="zeros"),
    "lstm": lambda: RecurrentHead(6, 5, "lstm", layers=2, hidden=7),
    "gru": lambda: RecurrentHead(6, 5, "gru", layers=3, hidden=7, dropout=0.3),
    "mean": lambda: MeanHead(6, 5),
    "embedding": lambda: EmbeddingHead(6, 5),
}
every_head = pytest.mark.parametrize("name", HEADS)


@every_head
def test_the_answer_is_that_to_the_last_frame(name):
    head, x_BFT = HEADS[name]().eval(), torch.randn(2, 6, 9)
    with every_frame():
        every_BTK = head(x_BFT)
    assert every_BTK.shape == (2, 9, 5)
    for t in range(9):
        torch.testing.assert_close(head(x_BFT[:, :, : t + 1]), every_BTK[:, t])


@every_head
def test_steps_give_the_answers_of_the_clip(name):
    head, x_BFT, state = HEADS[name]().eval(), torch.randn(2, 6, 9), {}
    names = {module: path for path, module in head.named_modules()}
    for piece in x_BFT.split([1, 1, 3, 4], dim=2):
        with remember(Memory(state, names, piece, None)) as memory:
            answer = head(piece)
        state = memory.new
        assert all(len(kept) == 2 for kept in state.values())
    torch.testing.assert_close(answer, head(x_BFT))


def test_the_window_head_is_one_linear_layer_over_the_last_features():
    head, x_BFT = WindowHead(6, 5, window=4), torch.randn(2, 6, 9)
    side_by_side = x_BFT[:, :, 5:].transpose(1, 2).flatten(1)
    torch.testing.assert_close(head(x_BFT), head.fc(side_by_side))
    assert head.fc.weight.numel() == 4 * 6 * 5


@pytest.mark.parametrize("layers", [2, 3])
def test_a_stacked_window_head_has_layers_of_1024(layers):
    head = WindowHead(6, 5, window=4, layers=layers).eval()
    linear = [part for part in head.fc if isinstance(part, nn.Linear)]
    sizes = [24, *[1024] * (layers - 1), 5]
    assert [(part.in_features, part.out_features) for part in linear] == list(pairwise(sizes))
    x_BFT = torch.randn(2, 6, 9)
    y = x_BFT[:, :, 5:].transpose(1, 2).flatten(1)
    for part in linear[:-1]:
        y = part(y).relu()
    torch.testing.assert_close(head(x_BFT), linear[-1](y))


def test_a_recurrent_head_drops_features_in_training_only():
    head, x_BFT = RecurrentHead(6, 5, hidden=64, dropout=0.5), torch.randn(2, 6, 9)
    assert not torch.equal(head(x_BFT), head(x_BFT))
    head.eval()
    assert torch.equal(head(x_BFT), head(x_BFT))


@every_head
def test_features_of_another_width_are_refused(name):
    with pytest.raises(ShapeError, match="F=6"):
        HEADS[name]()(torch.randn(2, 5, 9))


def test_an_unknown_recurrent_head_is_refused():
    with pytest.raises(ValueError, match="'lstm' or a 'gru'"):
        RecurrentHead(6, 5, "rnn")


def test_an_embedding_is_the_mean_of_those_of_the_frames():
    head, x_BFT = EmbeddingHead(6, 5), torch.randn(2, 6, 9)
    torch.testing.assert_close(head(x_BFT), head.frames(x_BFT).mean(2))
    torch.testing.assert_close(head.frames(x_BFT)[:, :, 4], head.fc(x_BFT[:, :, 4]))
    torch.testing.assert_close(EmbeddingHead(6)(x_BFT), x_BFT.mean(2))


@pytest.mark.parametrize("pieces", [[9], [1] * 9, [3, 4, 2]])
def test_a_mean_from_the_fifth_frame_on(pieces):
    mean, x_BFT, state, found = RunningMean(skip=4), torch.randn(2, 6, 9), {}, []
    for piece in x_BFT.split(pieces, dim=2):
        with remember(Memory(state, {mean: "m"}, piece, None)) as memory:
            found.append(mean(piece))
        state = memory.new
    # frames that do not count are given as they are
    wanted = [x_BFT[:, :, t] if t < 4 else x_BFT[:, :, 4 : t + 1].mean(2) for t in range(9)]
    torch.testing.assert_close(torch.cat(found, 2), torch.stack(wanted, 2))


@pytest.mark.parametrize(
    "make",
    [
        lambda odd: WindowHead(6, 5, window=odd),
        lambda odd: WindowHead(odd, 5),
        lambda odd: WindowHead(6, 5, first=odd),
        lambda odd: RecurrentHead(6, 5, layers=odd),
        lambda odd: RecurrentHead(6, 5, hidden=odd),
        lambda odd: RecurrentHead(6, 5, dropout=odd),
        lambda odd: MeanHead(6, odd),
        lambda odd: EmbeddingHead(odd, 5),
        lambda odd: EmbeddingHead(6, odd),
        lambda odd: RunningMean(skip=odd),
        lambda odd: Past(odd),
        lambda odd: WithPrevious(odd),
        lambda odd: LastFrames(torch.nn.Identity(), odd),
        lambda odd: CausalMaxPool3d(odd),
        lambda odd: CausalMaxPool3d(2, padding=(0, 0, odd)),
        lambda odd: CausalAvgPool3d(2, past=odd),
    ],
)
@pytest.mark.parametrize("odd", [10**30, -(10**30), "x", (1, 2)], ids=str)
def test_what_no_head_and_no_pool_can_count_is_refused(make, odd):
    with pytest.raises(LeanError):
        make(odd)
