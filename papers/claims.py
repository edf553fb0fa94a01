"""The claims of the five papers, and what of each the results files here show.

A part of a claim holds if it does in every seed that was run. A claim holds if all its parts do.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from papers.csn.regularises_text import DEPTHS, mean_error
from papers.pmscn.overfitting_text import level, rise

__all__ = ["CLAIMS", "Claim", "Finding", "part"]

HERE = Path(__file__).parent
SEEDS = 3
# a point or two of Dice is nothing between two networks that are said to be equal
EQUAL = 0.02
# a validation loss that has risen by so much since its lowest, in percent, has turned
TURN = 5


@dataclass(frozen=True)
class Finding:
    """What a results file says of a claim.

    Args:
        parts: What is claimed, in words with our numbers, and whether it is so.
        seeds: How many were run; 0 where a seed decides nothing.
    """

    parts: dict[str, bool]
    seeds: int = 0

    @property
    def verdict(self) -> str:
        """holds, partly or does not; with fewer than three seeds it says so."""
        right = sum(self.parts.values())
        word = "holds" if right == len(self.parts) else "partly" if right else "does not"
        return f"{word}, {self.seeds} of {SEEDS} seeds" if 0 < self.seeds < SEEDS else word


@dataclass(frozen=True)
class Claim:
    """One line of the page.

    Args:
        where: Paper, and its table or figure.
        results: The file that `judge` reads, below papers/, or several, each judged alone; none for
            a claim not run yet.
        command: What writes it.
    """

    text: str
    where: str
    results: str | tuple[str, ...] = ()
    judge: Callable[[Any], Finding] | None = None
    command: str = ""
    figure: str = ""

    def find(self, folder: Path = HERE) -> Finding | None:
        """None while there are no results, or no seed has all of them."""
        names = (self.results,) if isinstance(self.results, str) else self.results
        paths = [folder / name for name in names if (folder / name).is_file()]
        if self.judge is None or not paths:
            return None
        findings = [self.judge(json.loads(path.read_text())) for path in paths]
        if not all(finding.parts for finding in findings):
            return None
        parts = {text: so for finding in findings for text, so in finding.parts.items()}
        return Finding(parts, min(finding.seeds for finding in findings))


def part(name: str, differences: Iterable[float], least: float = 0.0) -> dict[str, bool]:
    """`name` with the mean difference in points; so if every difference is above `least`."""
    found = list(differences)
    mean = 100 * sum(found) / len(found)
    return {f"{name} ({mean:+.1f})": min(found) > least}


def _by_seed(found: dict[str, Any], key: str, names: Iterable[str]) -> list[dict[str, float]]:
    """One number of every network, for the seeds that have all of them."""
    seeds: dict[int, dict[str, float]] = {}
    for entry in found["entries"]:
        if key in entry:
            seeds.setdefault(entry["seed"], {})[entry["name"]] = entry[key]
    return [scores for scores in seeds.values() if set(names) <= scores.keys()]


def _compare(
    found: dict[str, Any],
    key: str,
    pairs: dict[tuple[str, str], tuple[str, float]],
    title: str = "",
) -> Finding:
    names = {name for pair in pairs for name in pair}
    seeds = _by_seed(found, key, names)
    parts: dict[str, bool] = {}
    for (first, second), (sign, least) in pairs.items() if seeds else ():
        differences = [scores[first] - scores[second] for scores in seeds]
        parts |= part(f"{title}{first} {sign} {second}", differences, least)
    return Finding(parts, len(seeds))


def _features(found: dict[str, Any]) -> Finding:
    better = {("ACS p.", "2.5D p."): (">", 0.0)}
    better |= {("ACS p.", name): (">", 0.0) for name in ("2.5D r.", "3D r.", "ACS r.")}
    return _compare(found, "features", better)


def _training(found: dict[str, Any]) -> Finding:
    return _compare(
        found,
        "dice",
        {
            ("ACS p.", "ACS r."): (">", 0.0),
            ("ACS p.", "3D r."): (">", 0.0),
            ("ACS r.", "3D r."): (">=", -EQUAL),
            ("3D r.", "2.5D r."): (">", EQUAL),
            ("ACS p.", "2.5D p."): (">", EQUAL),
        },
        _scale(found),
    )


def _whole(found: dict[str, Any]) -> Finding:
    order = {("ACS p.", "ACS p. EO"): (">", 0.0), ("ACS p. EO", "ACS r."): (">", 0.0)}
    return _compare(found, "dice", order, _scale(found))


def _scale(found: dict[str, Any]) -> str:
    """Which of the two runs on solids it is."""
    return f"{found['settings']['size']} voxels: "


def _costs(found: dict[str, Any]) -> Finding:
    rows = {row["form"]: row for row in found["rows"]}
    ours, base = rows["ACS"], rows["2.5D"]
    by = {key: ours[key] / base[key] for key in ("params", "macs", "saved_mib", "peak_mib")}
    dear = min(rows[name]["time ratio"] for name in ("Mean-ACS", "Soft-ACS"))
    return Finding(
        {
            f"parameters {by['params']:.2f}x": by["params"] == 1,
            f"multiply-adds {by['macs']:.2f}x": by["macs"] == 1,
            f"kept for backward {by['saved_mib']:.2f}x": by["saved_mib"] < 1.01,
            f"peak {by['peak_mib']:.2f}x": by["peak_mib"] < 1.05,
            f"time {ours['time ratio']:.2f}x": ours["time ratio"] < 1.05,
            f"variants cost more time, {dear:.2f}x and up": dear > ours["time ratio"],
        }
    )


def _reconstruction(found: dict[str, Any]) -> Finding:
    parts: dict[str, bool] = {}
    seeds = 0
    for end, title in (("enlarged", "last layer of one channel"), ("shuffled", "of eight")):
        scores = _by_seed(found, "psnr", [f"stdcf {end}", f"rank1 {end}"])
        apart = [score[f"stdcf {end}"] - score[f"rank1 {end}"] for score in scores]
        if apart:
            seeds, mean = len(apart), sum(apart) / len(apart)
            parts[f"{title}: atoms > rank-1 ({mean:+.2f} dB)"] = min(apart) > 0
            parts[f"{title}: by 3 dB"] = min(apart) >= 3
    return Finding(parts, seeds)


def _mismatch(found: dict[str, Any]) -> Finding:
    parts: dict[str, bool] = {}
    seeds = 0
    small = _entries(found, "small")
    whole, spread = _entries(found, "stdcf whole"), _entries(found, "spread")
    space = [entry["dilated"] - entry["as it is"] for entry in small.values()]
    both = whole.keys() & spread.keys()
    time = [spread[seed]["dilated"] - whole[seed]["half the frames"] for seed in both]
    for name, apart in (("space", space), ("time", time)):
        if apart:
            seeds = len(apart)
            parts |= part(f"{name}: dilated > as it is", apart)
    return Finding(parts, seeds)


def _turns(found: dict[str, Any]) -> Finding:
    names = [
        f"{form} {way}" for form in ("regular", "rank1", "stdcf") for way in ("whole", "turns")
    ]
    seeds = _by_seed(found, "top-1", names)
    if not seeds:
        return Finding({})
    lost = {
        form: [scores[f"{form} whole"] - scores[f"{form} turns"] for scores in seeds]
        for form in ("regular", "rank1", "stdcf")
    }
    parts = part("atoms by turns >= whole - 2", [-value for value in lost["stdcf"]], -EQUAL)
    for form, title in (("regular", "regular 3D"), ("rank1", "rank-1")):
        more = [a - b for a, b in zip(lost[form], lost["stdcf"], strict=True)]
        parts |= part(f"{title} loses more than atoms", more)
    for memory in list(_entries(found, "memory").values())[:1]:
        peak = {
            stage: entry.get("measured", entry["counted"])
            for stage, entry in memory.items()
            if stage.startswith("stdcf ")
        }
        share = max(peak["stdcf time"], peak["stdcf space"]) / peak["stdcf whole"]
        parts[f"memory {share:.2f}x"] = share < 0.55
    return Finding(parts, len(seeds))


def _regularises(found: dict[str, Any]) -> Finding:
    # at the last epoch every network has learnt its clips by heart
    on_the_way = _last(found, "train errors", mean_error)
    measures = (
        ("more training error on the way", on_the_way, "train errors", 1),
        ("less test error", found, "test error", -1),
    )
    parts: dict[str, bool] = {}
    seeds = 0
    for depth, kind in product(DEPTHS, ("ir-CSN", "ip-CSN")):
        first, second = f"{kind}-{depth}", f"ResNet3D-{depth}"
        for words, results, key, sign in measures:
            scores = _by_seed(results, key, [first, second])
            apart = [score[first] - score[second] for score in scores]
            if apart:
                seeds, mean = len(apart), 100 * sum(apart) / len(apart)
                name = f"{first}: {words} ({mean:+.1f})"
                parts[name] = min(sign * value for value in apart) > 0
    return Finding(parts, seeds)


def _entries(found: dict[str, Any], name: str) -> dict[int, dict[str, Any]]:
    """The entries of a network, by seed."""
    return {entry["seed"]: entry for entry in found["entries"] if entry["name"] == name}


def _online(found: dict[str, Any]) -> Finding:
    names = ("concat", "none", "sum", "3D-ResNet-18")
    seeds = _by_seed(found, "top-1", names)
    costs = _by_seed(found, "MACs per answer", names)
    if not seeds:
        return Finding({})
    cheap = costs[0]["3D-ResNet-18"] / costs[0]["concat"]
    pairs = {
        ("concat", "3D-ResNet-18"): ("D-ResNet > the 3D network's window", 0.0),
        ("concat", "none"): ("concat > none", 0.0),
        ("none", "sum"): ("none >= sum", -1e-9),
    }
    parts = {f"{cheap:.1f}x fewer multiply-adds an answer": cheap > 1}
    for (first, second), (name, least) in pairs.items():
        parts |= part(name, [scores[first] - scores[second] for scores in seeds], least)
    return Finding(parts, len(seeds))


def _causal(found: dict[str, Any]) -> Finding:
    heads = list(_entries(found, "heads").values())
    if not heads:
        return Finding({})
    last = [h["segments"]["2-layer LSTM"][-1] - h["segments"]["fc"][-1] for h in heads]
    half = heads[0]["erased"].index(0.5)
    erased = [h["erasure"]["2-layer LSTM"][half] - h["erasure"]["fc"][half] for h in heads]
    lengths = [list(head["lengths"].values()) for head in heads]
    return Finding(
        part("LSTM > fc in the last tenth", last)
        | part("LSTM > fc with half the video erased", erased)
        | part("longest training pieces > shortest", [one[-1] - one[0] for one in lengths]),
        len(heads),
    )


def _overfits(found: dict[str, Any]) -> Finding:
    losses, errors = (
        _by_seed(_last(found, key, measure), key, ("3D", "P2SC2"))
        for key, measure in (("loss", rise), ("error", level))
    )
    parts: dict[str, bool] = {}
    if losses:
        turns = {name: [100 * seed[name] for seed in losses] for name in ("3D", "P2SC2")}
        mean = {name: sum(values) / len(values) for name, values in turns.items()}
        parts = {
            f"3D's validation loss turns ({mean['3D']:+.0f} %)": min(turns["3D"]) > TURN,
            f"P2SC2's does not ({mean['P2SC2']:+.0f} %)": max(turns["P2SC2"]) <= TURN,
        }
        parts |= part("P2SC2 errs less at the end", [s["3D"] - s["P2SC2"] for s in errors])
    return Finding(parts, len(losses))


def _last(found: dict[str, Any], key: str, measure: Callable[[Any], float]) -> dict[str, Any]:
    """The same results with one number of each curve."""
    return {
        "entries": [
            entry | {key: measure(entry[key])} for entry in found["entries"] if key in entry
        ]
    }


def _brain(found: dict[str, Any]) -> Finding:
    """Networks of about the paper's share of parameters, each at the better of two rates."""
    names, rates = ("P2SC2, fewer", "P2SC3, fewer"), ("", ", rate 0.003")
    every = {name: [f"{name}{rate}" for rate in rates] for name in ("3D", *names)}
    seeds = _by_seed(found, "dice", [trial for trials in every.values() for trial in trials])
    sizes = {entry["name"]: entry["params"] for entry in found["entries"]}

    def total(trial: str) -> float:
        return sum(scores[trial] for scores in seeds)

    best = {name: max(trials, key=total) for name, trials in every.items()}
    parts: dict[str, bool] = {}
    for name in names if seeds else ():
        share = 100 * sizes[name] / sizes["3D"]
        says = f"{name} filters > 3D with {share:.0f} % of its parameters"
        parts |= part(says, [scores[best[name]] - scores[best["3D"]] for scores in seeds])
    return Finding(parts, len(seeds))


def _neurites(found: dict[str, Any]) -> Finding:
    seeds = _by_seed(found, "vi", ("3D", "P2SC2"))
    sizes = {entry["name"]: entry["params"] for entry in found["entries"]}
    if not seeds:
        return Finding({})
    apart = [scores["P2SC2"] - scores["3D"] for scores in seeds]
    share = 100 * sizes["P2SC2"] / sizes["3D"]
    return Finding(
        {
            f"VI of P2SC2 <= that of 3D ({sum(apart) / len(apart):+.2f} bits)": max(apart) <= 0,
            f"{share:.0f} % of its parameters": share <= 60,
        },
        len(seeds),
    )


ACTIONS = ("stdcf/actions.json", "papers.stdcf.actions")
# with the paper's settings, and at a CPU's size until the curves are flat
SHAPES = ("acs/shapes_paper.json", "acs/shapes.json")
GESTURES = ("d3d/gestures.json", "papers.d3d.gestures")
CLAIMS = (
    Claim(
        "Features of ACS with 2D weights tell foreground best before any training",
        "ACS, Table 3",
        "acs/features.json",
        _features,
        "papers.acs.features",
        "acs/features.png",
    ),
    Claim(
        "After training ACS with 2D weights is ahead of ACS and 3D from scratch, 2.5D far behind",
        "ACS, Table 3",
        SHAPES,
        _training,
        "papers.acs.shapes",
        "acs/shapes_paper.png",
    ),
    Claim(
        "The whole network's 2D weights beat the encoder's alone, and those beat none",
        "ACS, Table 7",
        SHAPES,
        _whole,
        "papers.acs.shapes",
        "acs/shapes_paper.png",
    ),
    Claim(
        "ACS costs what 2.5D costs, its variants more",
        "ACS, Tables 2, 6, A1",
        "acs/costs.json",
        _costs,
        "papers.acs.costs",
        "acs/costs.png",
    ),
    Claim(
        "Atoms reconstruct 3 dB better than rank-1 kernels",
        "STDCF, Fig 2",
        "stdcf/reconstruct.json",
        _reconstruction,
        "papers.stdcf.reconstruct",
        "stdcf/reconstruct.png",
    ),
    Claim(
        "Dilated atoms rescue a mismatch in space and in time",
        "STDCF, Table 1, Fig 3",
        ACTIONS[0],
        _mismatch,
        ACTIONS[1],
        "stdcf/actions.png",
    ),
    Claim(
        "Two stages lose little at half the memory; regular 3D and rank-1 lose more",
        "STDCF, Table 2, Fig 5",
        ACTIONS[0],
        _turns,
        ACTIONS[1],
        "stdcf/actions.png",
    ),
    Claim(
        "3D overfits where PmSCn does not",
        "PmSCn, Fig 4a",
        "pmscn/overfitting.json",
        _overfits,
        "papers.pmscn.overfitting",
        "pmscn/overfitting.png",
    ),
    Claim(
        "Channel separation regularises: more training error, less test error at equal depth",
        "CSN, Fig 5, Table 2",
        "csn/regularises.json",
        _regularises,
        "papers.csn.regularises",
        "csn/regularises.png",
    ),
    Claim(
        "A D-ResNet beats the window of a 3D network for each answer's multiply-adds; "
        "concat > none >= sum",
        "D3D, Tables 2, 4",
        GESTURES[0],
        _online,
        GESTURES[1],
        "d3d/gestures_cost.png",
    ),
    Claim(
        "An LSTM decides causally, and longer training clips help it",
        "D3D, Figs 6, 7",
        GESTURES[0],
        _causal,
        GESTURES[1],
        "d3d/gestures_causality.png",
    ),
    Claim(
        "P2SC2 and P2SC3 beat 3D on brain tissue with fewer parameters",
        "PmSCn, Fig 5",
        "pmscn/units.json",
        _brain,
        "papers.pmscn.units",
        "pmscn/units.png",
    ),
    Claim(
        "P2SC2 finds neurons at least as well as 3D, with under 60 % of its parameters",
        "PmSCn, Fig 6d",
        "pmscn/neurites.json",
        _neurites,
        "papers.pmscn.neurites",
        "pmscn/neurites.png",
    ),
)
