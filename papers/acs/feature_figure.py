"""The figure of claim 1: mAUC beside the paper's, and features of ACS on a slice (Fig 3)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lean3d.report.drawing import color, new_figure, plain_axes, save_figure
from papers.acs.feature_auc import feature_mauc
from papers.acs.shape_unet import ShapeUNet, last_features
from papers.results import Results

__all__ = ["draw_bars", "draw_features"]


def draw_features(
    results: Results,
    paper: Mapping[str, float],
    models: Mapping[str, ShapeUNet],
    volume: tuple[Tensor, Tensor],
    path: Path,
) -> None:
    """Left the numbers; right a slice of a volume, its truth, and each model's best feature."""
    image, label = volume
    depth = int((label > 0).sum((1, 2)).argmax())
    figure = new_figure(11, 3.6)
    figure.set_layout_engine("constrained")
    axes, *panels = figure.subplots(
        1, 3 + len(models), width_ratios=[2.2, *[1] * (2 + len(models))]
    )
    ours = {name: results.values(name, "features") for name in paper}
    draw_bars(axes, ours, paper, "mAUC of the last features (%)")
    axes.set_ylim(50, 100)
    shown = {"input": image[0], "solids": (label > 0).float()}
    shown |= {f"a feature of {name}": _best(model, image, label) for name, model in models.items()}
    for panel, (title, values) in zip(panels, shown.items(), strict=True):
        panel.imshow(values[depth].numpy(), cmap="gray", interpolation="nearest")
        panel.set_title(title, fontsize=9)
        panel.set_axis_off()
    save_figure(figure, path)


def draw_bars(
    axes: Any, ours: Mapping[str, list[float]], paper: Mapping[str, float], ylabel: str
) -> None:
    """A bar for the mean, a dot for each seed, a line for what the paper prints; in percent."""
    for index, (name, values) in enumerate(ours.items()):
        percent = [100 * value for value in values]
        if percent:
            axes.bar(index, sum(percent) / len(percent), color=color(index), width=0.6, alpha=0.6)
            axes.plot([index] * len(percent), percent, "o", color=color(index), ms=4, mec="white")
        if name in paper:
            label = "paper" if not index else None
            axes.hlines(paper[name], index - 0.4, index + 0.4, color="#222222", lw=1.5, label=label)
    plain_axes(axes, "", ylabel)
    axes.set_xticks(range(len(ours)), list(ours), fontsize=8)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _best(model: ShapeUNet, image: Tensor, label: Tensor) -> Tensor:
    """The channel that tells foreground best, bright inside."""
    features = last_features(model, image[None])
    inside = (label > 0)[None]
    areas = [feature_mauc(features[:, i : i + 1], inside) for i in range(features.shape[1])]
    best = features[0, max(range(len(areas)), key=areas.__getitem__)]
    within, without = best[inside[0]].mean(), best[~inside[0]].mean()
    return best if within >= without else -best
