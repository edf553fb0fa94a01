"""Persons: a search for each query, or pairs of videos to verify, by the papers' protocols.

Data with pairs (YouTube Faces) are verified; in data with queries (MARS) these are searched for,
and in other data every video, among the others.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from lean3d.data import People, Tracklet
from lean3d.data.frame_times import FrameTimes
from lean3d.errors import RunError
from lean3d.recipes.evaluation.base import Evaluation, Row, Score, Scored, register_evaluation
from lean3d.recipes.evaluation.person_pairs import Verification
from lean3d.recipes.evaluation.person_protocol import Protocol
from lean3d.recipes.evaluation.person_search import Search
from lean3d.recipes.places import same_data
from lean3d.recipes.tracklets import open_people, person_parts, readable
from lean3d.recipes.vectors import stamp
from lean3d.report import Section

__all__ = ["IdentityEvaluation"]


@dataclass(frozen=True)
class PersonCase:
    """A query, or a pair of videos.

    Args:
        name: Different from all others, and a valid name of a file.
        stamp: Changes with any video of the data, all of which decide the score.
        place: Its place among the queries, or pairs.
        people: All videos, and `times` of their frames.
    """

    name: str
    stamp: str
    place: int
    people: People = field(repr=False)
    times: dict[Path, FrameTimes] = field(repr=False)


@register_evaluation("identity")
class IdentityEvaluation(Evaluation):
    """Searches, or verified pairs; the data decide which."""

    main = "ap"
    group = "queries"
    uses: ClassVar[tuple[str, ...]] = ("frames", "others_only")
    _protocol: Protocol | None = None

    @property
    def protocol(self) -> Protocol:
        """Return how the cases are scored; known when there are some."""
        assert self._protocol is not None
        return self._protocol

    @property
    def scores(self) -> Mapping[str, Score]:
        return self.protocol.scores

    def cases(self, data: str | None) -> Sequence[PersonCase]:
        people = self._people(data)
        tracklets, times = readable(self.recipe, people.gallery, people.folder)
        if len(tracklets) < len(people.gallery):
            people = _without(people, tracklets)
        self._open(people, times)
        known = repr([(repr(t), stamp(t)) for t in people.gallery]) + repr(people.pairs)
        mark = hashlib.sha256((known + repr(people.queries)).encode()).hexdigest()[:16]
        names = self.protocol.names()
        return [PersonCase(name, mark, n, people, times) for n, name in enumerate(names)]

    def _open(self, people: People, times: dict[Path, FrameTimes]) -> None:
        kind = Verification if people.pairs else Search
        self._protocol = kind(self, people, times)
        self.main, self.group = self._protocol.main, self._protocol.group

    def _people(self, data: str | None) -> People:
        people = open_people(self.recipe, data)
        if people.pairs or people.gallery:
            return people
        # the persons that the run held out; all of other data
        own = data is None or same_data(data, self.recipe.data)
        gallery = person_parts(self.recipe, people).val if own else people.every
        return replace(people, gallery=gallery, queries=list(range(len(gallery))))

    def trained_on(self) -> set[str]:
        """Return the names of the cases that show a person of the run's own training part."""
        if self._protocol is None:  # of a run that is compared, not known before it scores
            return set()
        people, own = self.protocol.people, self.recipe.data.rpartition(":")[2]
        if people.folder is None or people.folder.resolve() != Path(own).expanduser().resolve():
            return set()
        known = set(self.recipe.class_names or ())
        return {
            n
            for n, shown in zip(self.protocol.names(), self.protocol.shown(), strict=True)
            if shown & known
        }

    def score(self, case: PersonCase, kept: Path) -> Scored:
        if self._protocol is None:  # of a run that is compared: the cases are the other's
            self._open(case.people, case.times)
        return self.protocol.score(case.place, kept.parent)

    def rank(self, scored: Scored) -> float:
        return self.protocol.rank(scored)

    def titles(self) -> dict[str, str]:
        return self.protocol.titles(super().titles())

    def row_titles(self) -> dict[str, str]:
        return self.protocol.row_titles()

    def columns(self) -> dict[str, str]:
        return self.protocol.columns()

    def compare(self, scored: Mapping[str, Scored], others: Mapping[str, Scored]) -> list[Row]:
        for name, one in scored.items():
            mine, theirs = ([r[self.group] for r in run.rows] for run in (one, others[name]))
            if mine != theirs:
                raise RunError(
                    f"the runs cannot be compared: {', '.join(mine)} are of one of them and "
                    f"{', '.join(theirs)} of the other"
                )
        return super().compare(scored, others)

    def summary(self, scored: Mapping[str, Scored]) -> list[Row]:
        return self.protocol.summary(scored, super().summary(scored))

    def sections(self, scored: Mapping[str, Scored], kept: Path, data: str | None) -> list[Section]:
        return self.protocol.sections(scored)


def _without(people: People, kept: list[Tracklet]) -> People:
    """Return the data without videos that cannot be read, their queries and their pairs."""
    there = {id(tracklet) for tracklet in kept}
    old = [n for n, tracklet in enumerate(people.gallery) if id(tracklet) in there]
    new = {before: now for now, before in enumerate(old)}
    pairs = [
        replace(p, first=new[p.first], second=new[p.second])
        for p in people.pairs
        if p.first in new and p.second in new
    ]
    queries = [new[q] for q in people.queries if q in new]
    return replace(people, gallery=kept, queries=queries, pairs=pairs)
