"""Features of a volume in the ways from 2D to 3D: `python -m papers.planecycle.picture`.

The 2D network learns as in `papers.planecycle.transfer`; each way makes it 3D, without training. Of
the maps that its head is given on one volume that was not learnt from, the first three principal
components are the red, green and blue of the middle slices of the three planes.

Axes: B batch, C channels, D depth, H height, W width.
"""

import argparse
import copy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.conversion import convert
from lean3d.files import write_whole
from lean3d.report.drawing import new_figure
from papers.planecycle.data import DATA, Brain
from papers.planecycle.transfer import HOWS, NETWORKS, Dense, fit

__all__ = ["SIX", "colours", "main", "maps_of"]

HERE = Path(__file__).parent
SIX = "acs", "mean_acs", "soft_acs", "planar", "inflate", "plane_cycle"
PLANES = {"HW": 0, "DW": 1, "DH": 2}
EDGE = 0.02  # share of voxels beyond the darkest and the brightest of a colour


@torch.no_grad()
def maps_of(deep: nn.Module, volume_BCDHW: Tensor) -> Tensor:
    """Return (C, D, H, W): what the head is given of one volume, as large as the volume."""
    found: list[Tensor] = []
    head: Any = deep.head
    handle = head.register_forward_hook(lambda module, args, output: found.append(args[0]))
    deep.eval()(volume_BCDHW)
    handle.remove()
    x = found[0]
    if x.ndim == 4:  # slices are a batch
        x = x.transpose(0, 1)[None]
    return F.interpolate(x, size=volume_BCDHW.shape[2:], mode="trilinear")[0]


def colours(maps_CDHW: Tensor, like_DHW: Tensor) -> Tensor:
    """Return (D, H, W, 3) from 0 to 1: the first three principal components of all voxels.

    Args:
        like_DHW: A component that falls where this rises is turned round.
    """
    x = maps_CDHW.flatten(1).double()
    x = x - x.mean(1, keepdim=True)
    _, axes = torch.linalg.eigh(x @ x.T / x.shape[1])
    parts = axes[:, -3:].flip(1).T @ x  # the largest first
    signs = (parts @ (like_DHW.flatten().double() - like_DHW.mean())).sign()
    parts = parts * torch.where(signs == 0, 1.0, signs)[:, None]
    low, high = (torch.quantile(parts, q, dim=1, keepdim=True) for q in (EDGE, 1 - EDGE))
    shown = ((parts - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    return shown.T.unflatten(0, tuple(like_DHW.shape)).float()


def slices_of(volume: Tensor) -> list[Tensor]:
    """Return the middle slices on the three planes."""
    return [volume.select(axis, volume.shape[axis] // 2) for axis in PLANES.values()]


def draw(rows: dict[str, Tensor], path: Path) -> None:
    figure = new_figure(6.4, 2 * len(rows))
    grid = figure.subplots(len(rows), len(PLANES), squeeze=False)
    for axes, (name, volume) in zip(grid, rows.items(), strict=True):
        for part, picture, plane in zip(axes, slices_of(volume), PLANES, strict=True):
            part.imshow(picture.numpy(), cmap="gray", interpolation="nearest")
            part.set_xticks([])
            part.set_yticks([])
            part.set_title(f"{name}, {plane}", fontsize=8)
    figure.tight_layout()
    with write_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--data", default="brain", choices=DATA)
    parser.add_argument("--brain", type=Path, help="the file that data.store_brain wrote")
    parser.add_argument("--network", default="resnet18", choices=NETWORKS)
    parser.add_argument("--hows", nargs="+", default=list(SIX), choices=HOWS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--flat-steps", type=int, default=1500, help="of training in 2D")
    parser.add_argument("--images", type=int, default=4000, help="to train on in 2D")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=HERE / "features.png")
    asked = parser.parse_args()
    data: Any = Brain(asked.brain) if asked.data == "brain" else DATA[asked.data]()
    torch.manual_seed(asked.seed)
    flat = Dense(asked.network, data.classes_2d, data.size).to(asked.device)
    fit(flat, data.images(asked.images, asked.seed), asked.flat_steps, 32, 1e-3)
    volume = data.labelled(1, asked.seed, True)[0].to(asked.device)
    rows = {"volume": volume[0, 0].cpu()}
    for how in asked.hows:
        deep = convert(copy.deepcopy(flat).eval().cpu(), HOWS[how], accept="planar")
        maps = maps_of(deep.to(asked.device), volume).cpu()
        rows[how] = colours(maps, rows["volume"])
        print(how, flush=True)
    draw(rows, asked.out)
    print(asked.out)


if __name__ == "__main__":
    main()
