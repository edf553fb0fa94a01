"""The section of README about the gestures, from the results alone."""

from typing import Any

from papers.results import Results, spread
from papers.text import measured_by, table

__all__ = [
    "NETWORKS",
    "VARIANTS",
    "by_head",
    "differences",
    "length_curves",
    "measured_variants",
    "section",
]

# accuracy on Kinetics-600 as printed, in percent: Tables 2 and 4, then Table 3
NETWORKS = {
    "concat": ("D-ResNet-18, concat", "61.41"),
    "none": ("D-ResNet-18, none", "58.74"),
    "sum": ("D-ResNet-18, sum", "58.40"),
    "3D-ResNet-18": ("3D-ResNet-18", "57.65"),
}
HEADS = {
    "fc": "61.41",
    **dict(zip((f"{n}-layer LSTM" for n in (1, 2, 3)), ("61.10", "62.02", "60.83"), strict=True)),
    **dict(zip((f"{n}-layer GRU" for n in (1, 2, 3)), ("61.08", "61.43", "61.38"), strict=True)),
}
# what is changed, by the ending of the networks' names
VARIANTS = {
    "": "as above",
    " wide": "twice the width",
    " slow": "gestures at a third of the speed",
    " one frame": "one frame in the stem, not three",
}
COMPARED = {
    ("concat", "none"): "+2.67",
    ("concat", "sum"): "+3.01",
    ("none", "sum"): "+0.34",
    ("concat", "3D-ResNet-18"): "+3.76",
}


def section(results: Results) -> str:
    """Tables, the paper's accuracies beside ours where it has any."""
    settings = results.settings
    macs = {name: results.values(name, "MACs per answer") for name in NETWORKS}
    fewer = ""
    if macs["concat"] and macs["3D-ResNet-18"]:
        ratio = macs["3D-ResNet-18"][0] / macs["concat"][0]
        fewer = (
            f"One more answer of D-ResNet-18 takes {ratio:.1f}x fewer multiply-adds than the "
            "window of 3D-ResNet-18 of equal width. "
        )
    tables = {
        "Temporal skips, and the conventional network (Tables 2 and 4), in percent:": [
            _network(results, name) for name in NETWORKS
        ],
        "Differences of the videos named right within a seed, in points:": [
            _compared(results, *pair) for pair in COMPARED
        ],
        "What makes the difference between the skips, top-1 on whole videos in percent:": [
            _variant(results, ending)
            for ending in VARIANTS
            if len(measured_variants(results)) > 1 and ending in measured_variants(results)
        ],
        "Heads on the features of D-ResNet-18, concat (Table 3), in percent:": [
            _head(results, name) for name in HEADS
        ],
        "Accuracy by tenths of the video (Fig 7a):": _parts(
            results, "segments", [f"tenth {n}" for n in range(1, 11)]
        ),
        "Accuracy with the middle of the features erased (Fig 7b):": _parts(
            results, "erasure", [f"erased {share:.0%}" for share in _erased(results)]
        ),
        "Two-layer LSTM, by the features of a training piece (Fig 6), in percent:": [
            {"features": n, "top-1": spread(values)} for n, values in length_curves(results).items()
        ],
    }
    told = [text for title, rows in tables.items() if rows for text in (title, table(rows))]
    error = 50 / settings["tests"] ** 0.5
    return "\n\n".join(
        [
            *told,
            f"{fewer}{settings['tests']} test videos (standard error up to {error:.1f} points), "
            f"chance {100 / settings['classes']:.1f}; {settings['epochs']} epochs of "
            f"{settings['clips']} new clips; mean and standard deviation over seeds. "
            f"{measured_by(results.entries)}",
        ]
    )


def differences(results: Results, first: str, second: str, key: str = "top-1") -> list[float]:
    """Videos named by the first less those by the second, for every seed that has both."""
    top = {(e["name"], e["seed"]): e[key] for e in results.entries if key in e}
    seeds = [seed for name, seed in top if name == first and (second, seed) in top]
    return [top[first, seed] - top[second, seed] for seed in seeds]


def measured_variants(results: Results) -> list[str]:
    """The endings of the networks that there are."""
    return [ending for ending in VARIANTS if results.values("concat" + ending, "top-1")]


def by_head(results: Results, key: str) -> dict[str, list[list[float]]]:
    """The values of every head, a list a seed."""
    found: dict[str, list[list[float]]] = {}
    for curves in results.values("heads", key):
        for name, curve in curves.items():
            found.setdefault(name, []).append(curve)
    return found


def length_curves(results: Results) -> dict[str, list[float]]:
    """Top-1 by the features of a training piece, of every seed."""
    found: dict[str, list[float]] = {}
    for lengths in results.values("heads", "lengths"):
        for n, value in lengths.items():
            found.setdefault(n, []).append(value)
    return found


def _network(results: Results, name: str) -> dict[str, str]:
    """A row of Table 2."""
    title, printed = NETWORKS[name]
    kinds = "one clip", "top-1", "ordered pairs", "played backwards"
    scores = {key: spread(results.values(name, key)) for key in kinds}
    params, macs = (results.values(name, key) for key in ("params", "MACs per answer"))
    return {
        "network": title,
        "parameters": f"{params[0]:,}" if params else "",
        "MMACs per answer": f"{macs[0] / 1e6:.2f}" if macs else "",
        **scores,
        "paper, Kinetics": printed,
    }


def _compared(results: Results, first: str, second: str) -> dict[str, str]:
    return {
        "compared": f"{first} - {second}",
        "paper": COMPARED[first, second],
        "ours": spread(differences(results, first, second), sign="+"),
        "ours, one clip": spread(differences(results, first, second, "one clip"), sign="+"),
    }


def _variant(results: Results, ending: str) -> dict[str, str]:
    skips = ("concat", "none", "sum")
    tops = {skip: spread(results.values(skip + ending, "top-1")) for skip in skips}
    pairs = ("none", "sum")
    apart = {
        f"concat - {skip}": spread(differences(results, "concat" + ending, skip + ending), sign="+")
        for skip in pairs
    }
    return {"network": VARIANTS[ending], **tops, **apart}


def _head(results: Results, name: str) -> dict[str, str]:
    """A row of Table 3."""
    rows = [row for rows in results.values("heads", "heads") for row in rows if row["head"] == name]
    return {
        "head": name,
        "parameters": f"{rows[0]['params']:,}" if rows else "",
        "top-1": spread([row["top-1"] for row in rows]),
        "paper, Kinetics": HEADS[name],
    }


def _parts(results: Results, key: str, names: list[str]) -> list[dict[str, str]]:
    """Means over seeds: a row a head."""
    rows = []
    for head, curves in by_head(results, key).items():
        means = [sum(values) / len(values) for values in zip(*curves, strict=True)]
        shown = {name: f"{mean:.2f}" for name, mean in zip(names, means, strict=True)}
        rows.append({"head": head, **shown})
    return rows


def _erased(results: Results) -> list[Any]:
    return next(iter(results.values("heads", "erased")), [])
