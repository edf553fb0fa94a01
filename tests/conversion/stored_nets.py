"""Networks of every kind of module that a conversion leaves in a model, stored by a release.

    python tests/conversion/stored_nets.py

writes stored/converted.pt. Write it again only for a release that promises new paths, and say so
in CHANGELOG: `test_stored_models.py` holds that later versions load what is there.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import lean3d

STORED = Path(__file__).parent / "stored" / "converted.pt"


class Standardised(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Gate(nn.Module):
    """Its depth is merged into height, and its child gets volumes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return x * self.conv(x.mean((2, 3), keepdim=True)).sigmoid()


class Flat(nn.Module):
    """Its depth is merged into the batch."""

    def __init__(self):
        super().__init__()
        pools = nn.MaxPool2d(2, 1), nn.AvgPool2d(3, 1, 1), nn.LPPool2d(2, 2, 1)
        pads = nn.ReflectionPad2d(1), nn.ZeroPad2d((0, 1, 0, 1))
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), *pads, *pools)
        self.block = nn.Sequential(Standardised(4, 4, 3, padding=1), Gate(), nn.ReLU())
        self.up = nn.Sequential(
            nn.ConvTranspose2d(4, 4, 2, 2),
            nn.Conv2d(4, 8, 1),
            nn.PixelShuffle(2),
            nn.PixelUnshuffle(2),
            nn.Upsample(scale_factor=2, mode="bicubic"),
        )
        self.out = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x):
        y = self.up(self.block(self.stem(x)))
        return F.interpolate(self.out(y), size=x.shape[2:], mode="bilinear")


def deep():
    convs = nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 4, 3, padding=1)
    return nn.Sequential(*convs, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2))


METHODS = [lean3d.ACS(), lean3d.MeanACS(), lean3d.SoftACS(), lean3d.Planar(), lean3d.Inflate()]
FORMS = [
    lean3d.SpaceTime(),
    lean3d.ParallelSeparable(2),
    lean3d.ChannelSeparated(),
    lean3d.Atoms(3, 2),
    lean3d.Dissect(),
]
NAMES = [type(how).__name__ for how in METHODS + FORMS]


def clip():
    return torch.randn(1, 1, 8, 12, 12, generator=torch.Generator().manual_seed(0))


def converted(name):
    torch.manual_seed(0)
    how = (METHODS + FORMS)[NAMES.index(name)]
    flat = Flat() if how in METHODS else deep()
    example = None if how in METHODS else clip()
    return lean3d.convert(flat.eval(), how, example=example, accept=None).eval()


def main():
    stored = {}
    for name in NAMES:
        model = converted(name)
        with torch.no_grad():
            stored[name] = (model, model.state_dict(), model(clip()))
    STORED.parent.mkdir(exist_ok=True)
    torch.save(stored, STORED)
    print(f"{STORED}: {STORED.stat().st_size:,} bytes, by lean3d {lean3d.__version__}")


if __name__ == "__main__":
    import stored_nets  # so that pickles name this module, not __main__

    stored_nets.main()
