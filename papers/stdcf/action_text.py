"""The section of README about six motions, from the results alone."""

from typing import Any

from papers.results import Results, spread
from papers.text import measured_by, table

__all__ = ["BY_STAGE", "MISMATCH", "TITLES", "drops", "section", "stages"]

TITLES = {"regular": "Reg. 3D", "rank1": "Rank-1 3D", "stdcf": "STDCF"}
# Table 1 in percent: as the atoms are and dilated; then what of ours they are: network and test
MISMATCH = {
    "space": (53.08, 75.34, ("small", "as it is"), ("small", "dilated"), ("small", "own")),
    "time": (
        66.49,
        77.11,
        ("stdcf whole", "half the frames"),
        ("spread", "dilated"),
        ("stdcf whole", "top-1"),
    ),
}
# by how much frames are smaller and fewer in training and in the tests
TRAINED = {"space": (1, 2), "time": (1, 1)}
TESTED = {"space": (1, 1), "time": (2, 1)}
# Table 2: MB and percent on whole clips, then in two stages
TWO_STAGES = {
    "regular": (459.7, 81.26, 229.5, 76.94),
    "rank1": (582.5, 82.55, 290.5, 79.10),
    "stdcf": (459.4, 85.61, 228.9, 84.93),
}
# what Fig 5 prints: points gained in the space stage of the first iteration and by each later one
BY_STAGE = {"regular": (0.22, 1.17, 0.70), "stdcf": (None, 1.87, 1.85)}


def section(results: Results) -> str:
    """Tables 1 and 2, and the accuracy after every stage."""
    settings = results.settings
    epochs = settings["epochs"]
    look = settings["look"]
    size = _size(results)
    statistics = noise = ""
    others = "persons" if settings["data"] else "digits"
    if settings["renew"]:
        statistics = f", batch norm by {settings['renew']} training clips as the test sees them"
    if look["block"] > 1:
        noise = f" with noise in blocks of {look['block']}x{look['block']}"
    return "\n\n".join(
        [
            "Atoms learnt at one resolution and tested at another (Table 1), top-1 in percent:",
            table(_mismatch(results, kind) for kind in MISMATCH),
            "Two stages by turns against whole clips (Table 2), top-1 in percent, and MB of the "
            "largest stage:",
            table(_two_stages(results, form) for form in TITLES),
            "On whole clips after each stage by turns (Fig 5):",
            table(_by_stage(results, form) for form in TITLES),
            f"{settings['data'] or 'Six motions'}, {settings['clips']} clips of {size}{noise} to "
            f"train on and {settings['val']} of other {others} to test on{statistics}; widths "
            f"{settings['widths']}, {epochs} epochs on whole clips and in each of "
            f"{2 * settings['iterations']} stages; mean and standard deviation over seeds, at the "
            f"last epoch. {measured_by(results.entries)}",
            f"![accuracy by stage, and with a mismatch]({results.path.stem}.png)",
        ]
    )


def _size(results: Results, skip: int = 1, shrink: int = 1) -> str:
    look = results.settings["look"]
    return f"{look['frames'] // skip}x{look['height'] // shrink}x{look['width'] // shrink}"


def _mismatch(results: Results, kind: str) -> dict[str, str]:
    plain, dilated, *ours = MISMATCH[kind]
    found = [spread(results.values(*place)) for place in ours]
    return {
        "mismatch of": kind,
        "trained on": _size(results, *TRAINED[kind]),
        "tested on": _size(results, *TESTED[kind]),
        "paper": f"{plain:.1f}",
        "ours": found[0],
        "paper, dilated": f"{dilated:.1f}",
        "ours, dilated": found[1],
        "ours, without mismatch": found[2],
    }


def _two_stages(results: Results, form: str) -> dict[str, str]:
    _, whole, _, turns = TWO_STAGES[form]
    peak = {stage: _peak(results, f"{form} {stage}") for stage in ("whole", "time", "space")}
    most = max((peak[stage] for stage in ("time", "space") if peak[stage]), default=None)
    both = "" if most is None or not peak["whole"] else f"{peak['whole']:.0f}, {most:.0f}"
    return {
        "kernels": TITLES[form],
        "MB": both,
        "paper, whole": f"{whole:.1f}",
        "ours, whole": spread(results.values(f"{form} whole", "top-1")),
        "paper, by turns": f"{turns:.1f}",
        "ours, by turns": spread(results.values(f"{form} turns", "top-1")),
        "paper, difference": f"{turns - whole:+.1f}",
        "ours, difference": spread(drops(results, form), sign="+"),
    }


def _by_stage(results: Results, form: str) -> dict[str, str]:
    found = stages(results, form)
    return {"kernels": TITLES[form]} | {
        f"{1 + n // 2}, {('time', 'space')[n % 2]}": spread([curve[n] for curve in found])
        for n in range(2 * results.settings["iterations"])
    }


def stages(results: Results, form: str) -> list[list[float]]:
    """The accuracy after each stage, a curve a seed."""
    return results.values(f"{form} turns", "stages")


def drops(results: Results, form: str) -> list[float]:
    """By turns less whole, for every seed that has both."""
    top = {(e["name"], e["seed"]): e["top-1"] for e in results.entries if "top-1" in e}
    seeds = [seed for name, seed in top if name == f"{form} turns"]
    pairs = [(top[f"{form} turns", seed], top.get((f"{form} whole", seed))) for seed in seeds]
    return [turns - whole for turns, whole in pairs if whole is not None]


def _peak(results: Results, name: str) -> Any:
    """MB, measured if it was on a GPU, else counted."""
    for entry in results.entries:
        if entry["name"] == "memory":
            return entry[name].get("measured", entry[name]["counted"])
    return None
