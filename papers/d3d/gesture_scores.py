"""How good networks and heads are on test videos, and what an answer costs them.

A network answers for every frame. A window of 16 frames answers for its last one; the video is
named by the mean of the windows' probabilities (D3D, Sec 3.3, Recognition).

Axes: N videos, C channels, T time, H height, W width, F features, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.cost import count
from lean3d.data import MOTIONS
from lean3d.data.motions import PAIRS, turned_round
from lean3d.ops.memory import every_frame
from papers.d3d.segments import accuracy_by_segment, erase_middle
from papers.gesture_videos import Gestures

__all__ = ["Network", "Videos", "heads_by_frame", "score"]

WINDOW = 16
# a window head is trained on features that have three frames before them
SETTLED = 18


@dataclass(frozen=True)
class Videos:
    """Test videos with their classes, drawn again for every network."""

    gestures: Gestures
    num: int

    @property
    def label_N(self) -> Tensor:  # noqa: N802
        return torch.arange(self.num, device=self.gestures.device) % len(MOTIONS)

    def batches(self, size: int = 100):
        """Clips (B, C, T, H, W), in order."""
        for index_B in torch.arange(self.num).split(size):
            yield self.gestures.draw(index_B)[0]

    @torch.inference_mode()
    def features(self, model: Any) -> Tensor:
        """(N, T, F)"""
        return torch.cat([model.features(x).transpose(1, 2) for x in self.batches()])


@dataclass(frozen=True)
class Network:
    """A trained network.

    Args:
        causal: It answers for every frame, else for windows.
        size: Height and width of a frame.
    """

    model: Any
    causal: bool
    size: int

    def macs(self) -> int:
        """Multiply-adds of an answer to one more frame: of a step, or of a whole window."""
        return count(self.model, (1, 3, 1 if self.causal else WINDOW, self.size, self.size)).macs

    @torch.inference_mode()
    def answers(self, x_BCTHW: Tensor) -> Tensor:
        """Probabilities (B, T', K) of every frame that has a full window behind it."""
        if self.causal:
            with every_frame():
                return self.model(x_BCTHW).softmax(-1)[:, min(SETTLED, x_BCTHW.shape[2] - 1) :]
        ends = range(WINDOW, x_BCTHW.shape[2] + 1)
        return torch.stack(
            [self.model(x_BCTHW[:, :, end - WINDOW : end]).softmax(-1) for end in ends], 1
        )


def score(network: Network, videos: Videos) -> dict[str, Any]:
    """A network's row: parameters, cost of an answer, and how many videos it names."""
    said = torch.cat([network.answers(x).mean(1).argmax(1) for x in videos.batches()])
    back = torch.cat([network.answers(x.flip(2)).mean(1).argmax(1) for x in videos.batches()])
    label = videos.label_N
    turned = torch.tensor([MOTIONS.index(turned_round(name)) for name in MOTIONS]).to(label)
    pair = torch.tensor([name in PAIRS for name in MOTIONS]).to(label.device)[label]
    return {
        "params": sum(p.numel() for p in network.model.parameters()),
        "MACs per answer": network.macs(),
        "top-1": right(said == label),
        "ordered pairs": right((said == label)[pair]),
        "played backwards": right(back == turned[label]),
    }


@torch.inference_mode()
def heads_by_frame(
    heads: Mapping[str, nn.Module],
    features_NTF: Tensor,
    label_N: Tensor,
    erased: Sequence[float],
) -> dict[str, Any]:
    """Table 3, Fig 7a and Fig 7b for heads on the same features."""
    rows, segments, erasure = [], {}, {}
    for name, head in heads.items():
        scores_NTK = answers(head, features_NTF)
        rows.append(
            {
                "head": name,
                "params": sum(p.numel() for p in head.parameters()),
                "top-1": right(verdict(head, scores_NTK) == label_N),
            }
        )
        segments[name] = accuracy_by_segment(scores_NTK, label_N)
        erasure[name] = [
            right(verdict(head, answers(head, erase_middle(features_NTF, share))) == label_N)
            for share in erased
        ]
    return {"heads": rows, "segments": segments, "erased": list(erased), "erasure": erasure}


def answers(head: nn.Module, features_NTF: Tensor) -> Tensor:
    """Probabilities of every frame."""
    with every_frame():
        return head.eval()(features_NTF.transpose(1, 2)).softmax(-1)


def verdict(head: Any, scores_NTK: Tensor) -> Tensor:
    """The video's class: by the mean of the full windows of an fc head, else by the last answer."""
    if hasattr(head, "window"):
        return scores_NTK[:, min(SETTLED, scores_NTK.shape[1] - 1) :].mean(1).argmax(1)
    return scores_NTK[:, -1].argmax(1)


def right(hits: Tensor) -> float:
    """A share, to four digits."""
    return round(float(hits.float().mean()), 4)
