"""The figure of claims 6 and 7: accuracy by stage, and atoms as they are and dilated."""

from pathlib import Path

from lean3d.report.drawing import color, new_figure, plain_axes, save_figure
from papers.results import Results
from papers.stdcf.action_text import MISMATCH, TITLES, stages

__all__ = ["draw"]


def draw(results: Results, path: Path) -> None:
    """Left Fig 5, a thin line a seed; right Table 1, a dot a seed and the paper's as a line."""
    figure = new_figure(11, 4)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    for index, (form, title) in enumerate(TITLES.items()):
        style = dict(color=color(index))
        curves = [[100 * value for value in curve] for curve in stages(results, form)]
        for curve in curves:
            left.plot(range(len(curve)), curve, lw=0.7, alpha=0.5, **style)
        if curves:
            means = [sum(values) / len(values) for values in zip(*curves, strict=True)]
            left.plot(range(len(means)), means, marker="o", ms=5, label=title, **style)
        whole = [100 * value for value in results.values(f"{form} whole", "top-1")]
        if whole:
            label = "trained on whole clips" if not index else None
            mean = sum(whole) / len(whole)
            left.axhline(mean, ls=(0, (3, 2)), lw=1, label=label, **style)
    plain_axes(left, "stage", "top-1 on whole clips (%)")
    names = [f"{n}, {kind}" for n in range(1, 9) for kind in ("time", "space")]
    count = 2 * results.settings["iterations"]
    left.set_xticks(range(count), names[:count], fontsize=8)
    left.set_ylim(0, 100)
    left.legend(frameon=False, fontsize=8, loc="lower right", ncols=2)
    _draw_mismatch(right, results)
    save_figure(figure, path)


def _draw_mismatch(axes, results: Results) -> None:
    place, names = 0, []
    for kind, (plain, dilated, *ours) in MISMATCH.items():
        rows = zip((plain, dilated, None), ours, strict=True)
        for index, (paper, where) in enumerate(rows):
            values = [100 * value for value in results.values(*where)]
            style = dict(color=color((2, 3, 0)[index]))
            if values:
                axes.bar(place, sum(values) / len(values), width=0.6, alpha=0.6, **style)
                axes.plot([place] * len(values), values, "o", ms=4, mec="white", **style)
            if paper is not None:
                label = "paper, KTH" if not names else None
                axes.hlines(paper, place - 0.4, place + 0.4, color="#222222", lw=1.5, label=label)
            names.append(("as it is", "dilated", "no mismatch")[index] + f",\n{kind}")
            place += 1
        place += 0.5
    plain_axes(axes, "", "top-1 of STDCF (%)")
    places = [n + 0.5 * (n // 3) for n in range(len(names))]
    axes.set_xticks(places, names, fontsize=8)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.set_ylim(0, 100)
