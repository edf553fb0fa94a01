"""Learn vectors of videos that are near for one person and far apart for two.

Paper: Köpüklü et al., Dissected 3D CNNs (D3D), arXiv:2009.14639, Sec 4.4: cross-entropy over the
persons, plus a triplet loss on the hardest pairs of a batch
Paper: Hermans et al., In Defense of the Triplet Loss, arXiv:1703.07737 (batch hard)
Differs from the paper: it gives no margin; 0.3 is that of Gao and Nevatia, arXiv:1805.02104, whose
settings are its own.

Axes: B batch, C channels, E embedding, N videos, T time, H height, W width.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.errors import RunError, ShapeError
from lean3d.metrics import retrieval_scores
from lean3d.optional import require
from lean3d.processes import gathered, place, pooled, total
from lean3d.tasks.learner import Learner

__all__ = ["Identity", "hard_triplets"]


def hard_triplets(embedding_BE: Tensor, person_B: Tensor, margin: float) -> Tensor:
    """Return the mean over the batch of max(0, farthest same - nearest other + margin).

    Distances are Euclidean. A video without another of its person, or of another, has no triplet;
    0 if none has one.
    """
    distances = require("pytorch_metric_learning.distances", extra="identity")
    losses = require("pytorch_metric_learning.losses", extra="identity")
    miners = require("pytorch_metric_learning.miners", extra="identity")
    reducers = require("pytorch_metric_learning.reducers", extra="identity")
    distance = distances.LpDistance(normalize_embeddings=False)
    loss = losses.TripletMarginLoss(margin, distance=distance, reducer=reducers.MeanReducer())
    # half precision has too few digits for differences of distances
    embedding_BE = embedding_BE.float()
    return loss(
        embedding_BE, person_B, miners.BatchHardMiner(distance=distance)(embedding_BE, person_B)
    )


class Identity(Learner):
    """A network that gives a vector a clip, with its losses, optimizer and scores of a search.

    Logs train_loss, train_cross_entropy, train_triplet; val_loss, the triplet loss over all
    validation videos; val_map, val_rank1 and val_rank5, of a search for each among all others.

    Args:
        model: (B, C, T, H, W) -> (B, E).
        size: E.
        num_persons: Persons to train on.
        triplet: Weight of the triplet loss; 0 leaves it out.
        margin: Of the triplet loss.
        dropout: Before the linear layer that names the persons.
        normalise: Search with vectors of length 1.
        learning: Optimizer, schedule and layout, as `Learner` takes them.
    """

    monitor = "val_map"

    def __init__(
        self,
        model: nn.Module,
        size: int,
        num_persons: int,
        *,
        triplet: float = 1.0,
        margin: float = 0.3,
        dropout: float = 0.0,
        normalise: bool = False,
        **learning: Any,
    ):
        super().__init__(model, **learning)
        if num_persons < 2:
            raise RunError(f"Identity needs two persons or more, got {num_persons}")
        self.num_classes, self.size = num_persons, size
        self.triplet, self.margin, self.normalise = triplet, margin, normalise
        self.dropout, self.classifier = nn.Dropout(dropout), nn.Linear(size, num_persons)
        self.found: list[tuple[Tensor, Tensor]] = []

    def learnt(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from super().learnt()
        for name, parameter in self.classifier.named_parameters():
            yield f"classifier.{name}", parameter

    def units(self) -> list[nn.Module]:
        return [*super().units(), self.classifier]

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        embedding_BE, person_B = self._embed(batch[0]), batch[1][:, 0]
        loss = F.cross_entropy(self.classifier(self.dropout(embedding_BE)), person_B)
        size = len(person_B)
        self.log_training("train_cross_entropy", loss.detach(), size, prog_bar=False)
        if self.triplet:
            apart = hard_triplets(*of_all(embedding_BE, person_B), self.margin)
            self.log_training("train_triplet", apart.detach(), size, prog_bar=False)
            loss = loss + self.triplet * apart
        self.log_training("train_loss", loss, size)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.found = []

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self.found.append((self._embed(batch[0]).detach().float().cpu(), batch[1].cpu()))

    def on_validation_epoch_end(self) -> None:
        every = [pair for found in gathered(self.found) for pair in found]
        self.found = []
        embedding_NE, label_N3 = (torch.cat(part) for part in zip(*every, strict=True))
        # processes that cannot share the batches evenly compute some twice
        once = {int(number): n for n, number in enumerate(label_N3[:, 2])}
        order = [once[number] for number in sorted(once)]
        embedding_NE, label_N3 = embedding_NE[order], label_N3[order]
        loss = hard_triplets(embedding_NE, label_N3[:, 0], self.margin)
        self.log("val_loss", loss, prog_bar=True)
        if self.normalise:
            embedding_NE = F.normalize(embedding_NE, dim=1)
        # a matrix product loses the digits of small distances
        distance_NN = torch.cdist(
            embedding_NE, embedding_NE, compute_mode="donot_use_mm_for_euclid_dist"
        )
        persons, cameras, _ = label_N3.T.tolist()
        own = list(range(len(persons)))
        scores = retrieval_scores(distance_NN.numpy(), persons, persons, cameras, cameras, own)
        self.log("val_map", scores.mean_average_precision, prog_bar=True)
        self.log("val_rank1", scores.rank(1))
        self.log("val_rank5", scores.rank(5))

    def _embed(self, x_BCTHW: Tensor) -> Tensor:
        y = self(x_BCTHW)
        expected = (len(x_BCTHW), self.size)
        if tuple(y.shape) != expected:
            raise ShapeError(
                f"Identity expects a vector a clip, (B, E) = {expected}, got {tuple(y.shape)}; "
                "give a model with one, such as d_resnet_18 with the option head=embedding"
            )
        return y


def of_all(embedding_BE: Tensor, person_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the vectors and persons of the batches of all processes, in their order."""
    own, num = place(), len(person_B)
    if own.size == 1:
        return embedding_BE, person_B
    # each process fills its rows of zeros, and the sum has all of them
    room = (num * own.rank, num * (own.size - 1 - own.rank))
    whole = F.pad(embedding_BE, (0, 0, *room))
    return pooled(whole), total(F.pad(person_B, room))
