"""The section of README about training on solids, from the results alone."""

from collections.abc import Sequence

from papers.results import Results, spread
from papers.text import measured_by, table

__all__ = ["DIFFERENCES", "PAPER", "differences", "section"]

# Table 3 in percent: Dice and mIoU after training
PAPER = {
    "2.5D r.": (82.2, 72.5),
    "2.5D p.": (82.7, 73.3),
    "3D r.": (94.6, 90.8),
    "ACS r.": (94.7, 90.7),
    "ACS p.": (95.4, 92.0),
}
# Table 7 in percent, Dice of lesions (encoder from MS-COCO), for whole network and encoder only
LESIONS = {"ACS r.": 75.2, "ACS p. EO": 76.1, "ACS p.": 78.9}
# what is compared, and the difference the paper prints in points
DIFFERENCES = {
    ("ACS p.", "ACS r."): 0.7,
    ("ACS p.", "3D r."): 0.8,
    ("ACS r.", "3D r."): 0.1,
    ("ACS p.", "2.5D p."): 12.7,
    ("3D r.", "2.5D r."): 12.4,
    ("2.5D p.", "2.5D r."): 0.5,
}
# epochs at the end that say whether a curve still rises
LAST = 10
LESION_DIFFERENCES = {("ACS p.", "ACS p. EO"): 2.8, ("ACS p. EO", "ACS r."): 0.9}


def section(results: Results) -> str:
    """Dice beside the paper's, and differences within a seed."""
    rows = []
    for name in (*PAPER, "ACS p. EO"):
        dice, iou = (f"{value:.1f}" for value in PAPER[name]) if name in PAPER else ("", "")
        epochs = results.values(name, "epochs")
        rows.append(
            {
                "network": name,
                "paper, Dice": dice,
                "ours, Dice": spread(results.values(name, "dice")),
                "paper, mIoU": iou,
                "ours, mIoU": spread(results.values(name, "iou")),
                "epochs": ", ".join(map(str, epochs)),
            }
        )
        if results.settings.get("fixed"):
            rises = [_rise(curve) for curve in results.values(name, "curve")]
            rows[-1] |= {f"rise in the last {LAST}": spread(rises, sign="+")}
    size, volumes = results.settings["size"], results.settings["volumes"]
    cut = [f"{e['name']} (seed {e['seed']})" for e in results.entries if not e.get("flat", True)]
    still = f"Not flat at their last epoch: {', '.join(cut)}. " if cut else ""
    return "\n\n".join(
        [
            table(rows),
            "Differences within a seed, in points of Dice (Table 3, then Table 7 on lesions):",
            table(_compared(results)),
            f"Volumes of {size}^3 voxels, widths {results.settings['widths']}, {volumes} to train "
            f"on; mean and standard deviation over seeds on {results.settings['tests']} test "
            f"volumes. {still}The 2D networks reach a Dice of "
            f"{spread(results.values('2D', 'dice'))} on images of {size}^2. "
            f"{measured_by(results.entries)}",
        ]
    )


def differences(results: Results, first: str, second: str) -> list[float]:
    """Dice of the first less that of the second, for every seed that has both."""
    scores = {(entry["name"], entry["seed"]): entry["dice"] for entry in results.entries}
    seeds = [seed for name, seed in scores if name == first and (second, seed) in scores]
    return [scores[first, seed] - scores[second, seed] for seed in seeds]


def _rise(curve: Sequence[float]) -> float:
    """By how much the mean of the last epochs is above that of as many before."""
    late, early = curve[-LAST:], curve[-2 * LAST : -LAST] or curve
    return sum(late) / len(late) - sum(early) / len(early)


def _compared(results: Results) -> list[dict[str, str]]:
    return [
        {
            "compared": f"{first} - {second}",
            "paper": f"{printed:+.1f}",
            "ours": spread(differences(results, first, second), sign="+"),
        }
        for (first, second), printed in (DIFFERENCES | LESION_DIFFERENCES).items()
    ]
