"""Heads from features of frames to scores, or to embeddings, for clips and for streams.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 3.2 and Table 3
Differs from the paper: a mean over all frames so far is an option too; the padding before the
first feature is an option, copies of it or zeros.

Each head gives an output for the last frame; in `ops.memory.every_frame`, for every frame.

Axes: B batch, E embedding, F features, T time, K classes.
"""

from itertools import chain, pairwise
from typing import Literal

from torch import Tensor, nn

from lean3d.errors import LeanError
from lean3d.limits import check_counts, check_number, check_sizes
from lean3d.ops.causal_pools import RunningMean
from lean3d.ops.leaf import Leaf
from lean3d.ops.memory import First, carry, check_first, every_frame_asked, past
from lean3d.shape import check_axes
from lean3d.typed import check_arguments

__all__ = ["EmbeddingHead", "MeanHead", "RecurrentHead", "WindowHead"]


def asked(y_BTK: Tensor) -> Tensor:
    """Return the last frame (B, K), or all frames if requested."""
    return y_BTK if every_frame_asked() else y_BTK[:, -1]


class WindowHead(Leaf):
    """Linear layers over the concatenated features of the last `window` frames ("fc").

    Args:
        layers: 1 to 3 in the paper (Table 3), with a ReLU after each but the last.
        hidden: Outputs of each but the last; 1024 in the paper.
        dropout: After each ReLU.

    Shape: (B, F, T) -> (B, K)
    Cost: window * F * K multiply-adds, of one layer.
    State: (B, F, window - 1), the past features.
    """

    def __init__(
        self,
        features: int,
        num_classes: int,
        window: int = 16,
        first: First = "replicate",
        layers: int = 1,
        hidden: int = 1024,
        dropout: float = 0.0,
    ):
        super().__init__()
        check_counts("WindowHead", features=features, num_classes=num_classes, window=window)
        check_counts("WindowHead", layers=layers, hidden=hidden)
        check_sizes("WindowHead's weight", (num_classes, window, features))
        check_first("WindowHead", first)
        self.features, self.window, self.first = features, window, first
        sizes = [window * features, *[hidden] * (layers - 1), num_classes]
        linear = [nn.Linear(*pair) for pair in pairwise(sizes)]
        between = [[one, nn.ReLU(), nn.Dropout(dropout)] for one in linear[:-1]]
        stacked = nn.Sequential(*chain.from_iterable(between), linear[-1])
        self.fc: nn.Module = linear[0] if layers == 1 else stacked

    def forward(self, x_BFT: Tensor) -> Tensor:
        check_axes(x_BFT, f"B F={self.features} T", self)
        x_BFT = past(self, x_BFT, self.window - 1, self.first)
        if not every_frame_asked():
            x_BFT = x_BFT[:, :, -self.window :]
        windows_BTWF = x_BFT.unfold(2, self.window, 1).permute(0, 2, 3, 1)
        return asked(self.fc(windows_BTWF.flatten(2)))

    def extra_repr(self) -> str:
        return f"window={self.window}, first={self.first!r}"


class RecurrentHead(Leaf):
    """LSTM or GRU over the features, then a linear layer.

    Args:
        layers: 1 to 3 in the paper, which takes 2.
        dropout: Between the layers, and before the linear one; 0.3 in the paper's training.

    Shape: (B, F, T) -> (B, K)
    State: (B, layers, hidden), twice for an LSTM.

    Raises:
        LeanError: `kind` is neither "lstm" nor "gru".
    """

    def __init__(
        self,
        features: int,
        num_classes: int,
        kind: Literal["lstm", "gru"] = "lstm",
        layers: int = 2,
        hidden: int = 1024,
        dropout: float = 0.0,
    ):
        super().__init__()
        if kind not in ("lstm", "gru"):
            raise LeanError(f"RecurrentHead is an 'lstm' or a 'gru', got {kind!r}")
        counts = dict(num_classes=num_classes, layers=layers, hidden=hidden)
        check_counts("RecurrentHead", features=features, **counts)
        check_sizes("RecurrentHead's weights", (layers, hidden, hidden + features))
        check_arguments(self, dropout=dropout)
        check_number("RecurrentHead: dropout", dropout, 0, 1)
        self.features, self.kind = features, kind
        make = nn.LSTM if kind == "lstm" else nn.GRU
        between = dropout if layers > 1 else 0.0
        self.rnn = make(features, hidden, layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(hidden, num_classes)

    def forward(self, x_BFT: Tensor) -> Tensor:
        check_axes(x_BFT, f"B F={self.features} T", self)
        start = x_BFT.new_zeros(x_BFT.shape[0], self.rnn.num_layers, self.rnn.hidden_size)
        names = ("hidden", "cell") if self.kind == "lstm" else ("hidden",)
        old, put = zip(*(carry(self, name, start) for name in names), strict=True)
        # torch has layers first
        first = tuple(state.transpose(0, 1).contiguous() for state in old)
        y_BTH, last = self.rnn(x_BFT.transpose(1, 2), first if self.kind == "lstm" else first[0])
        for leave, state in zip(put, last if self.kind == "lstm" else (last,), strict=True):
            leave(state.transpose(0, 1).contiguous())
        y_BTH = y_BTH if every_frame_asked() else y_BTH[:, -1:]
        return asked(self.fc(self.dropout(y_BTH)))


class MeanHead(Leaf):
    """One linear layer over the mean of all features so far.

    Shape: (B, F, T) -> (B, K)
    Cost: F * K multiply-adds.
    State: (B, F), the mean; (B,), the number of frames.
    """

    def __init__(self, features: int, num_classes: int):
        super().__init__()
        check_counts("MeanHead", features=features, num_classes=num_classes)
        check_sizes("MeanHead's weight", (num_classes, features))
        self.features = features
        self.mean = RunningMean()
        self.fc = nn.Linear(features, num_classes)

    def forward(self, x_BFT: Tensor) -> Tensor:
        check_axes(x_BFT, f"B F={self.features} T", self)
        mean_BTF = self.mean(x_BFT).transpose(1, 2)
        return asked(self.fc(mean_BTF if every_frame_asked() else mean_BTF[:, -1:]))


class EmbeddingHead(Leaf):
    """A vector for each frame, and the mean of all vectors so far (D3D, Sec 4.4 and 4.5).

    Args:
        size: Of a vector, by one linear layer; None for the features themselves.

    Shape: (B, F, T) -> (B, E)
    Cost: F * E multiply-adds a frame.
    State: (B, E), the mean; (B,), the number of frames.
    """

    def __init__(self, features: int, size: int | None = None):
        super().__init__()
        check_counts("EmbeddingHead", features=features, size=1 if size is None else size)
        check_sizes("EmbeddingHead's weight", (size or 1, features))
        self.features = features
        self.fc = nn.Identity() if size is None else nn.Linear(features, size)
        self.mean = RunningMean()

    def frames(self, x_BFT: Tensor) -> Tensor:
        """Return the vectors of the frames, (B, E, T)."""
        check_axes(x_BFT, f"B F={self.features} T", self)
        return self.fc(x_BFT.transpose(1, 2)).transpose(1, 2)

    def forward(self, x_BFT: Tensor) -> Tensor:
        return asked(self.mean(self.frames(x_BFT)).transpose(1, 2))
