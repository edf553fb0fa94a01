"""Decoders that ask a transposed convolution for the size of their skip."""

import pytest
import torch
from torch import nn

import lean3d
from lean3d.errors import ConversionError

HOWS = [lean3d.ACS(), lean3d.SoftACS(), lean3d.Planar(), lean3d.Inflate()]
SPELLINGS = {
    "whole": lambda skip: skip.size(),
    "sides": lambda skip: skip.shape[2:],
    "last_two": lambda skip: skip.shape[-2:],
}


class Decoder(nn.Module):
    def __init__(self, spelling):
        super().__init__()
        self.spelling = spelling
        self.first, self.down = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, 2, 1)
        self.up, self.last = nn.ConvTranspose2d(4, 4, 3, 2, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        skip = self.first(x).relu()
        size = SPELLINGS[self.spelling](skip)
        up = self.up(self.down(skip).relu(), output_size=size)
        return self.last(torch.cat([up, skip], 1))


@pytest.mark.parametrize("how", HOWS, ids=str)
@pytest.mark.parametrize("spelling", ["whole", "sides"])
def test_each_axis_follows_that_of_the_skip(how, spelling):
    deep = lean3d.convert(Decoder(spelling).eval(), how)
    for size in ((8, 10, 12), (7, 10, 11), (8, 9, 9)):
        assert deep(torch.randn(1, 1, *size)).shape == (1, 2, *size)


def test_a_size_that_leaves_depth_out_is_refused():
    with pytest.raises(ConversionError, match=r"'up'.*stops at .*test_output_sizes\.py:\d+"):
        lean3d.convert(Decoder("last_two").eval(), lean3d.ACS())
