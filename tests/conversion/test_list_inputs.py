"""Networks whose input is a list, as SlowFast's pathways, and which write into it."""

import pytest
import torch
from torch import nn

import lean3d
from lean3d.errors import ConversionError


class Pathways(nn.Module):
    def __init__(self, writes, named=False):
        super().__init__()
        self.writes, self.keys = writes, ("slow", "fast") if named else (0, 1)
        self.slow, self.fast = nn.Conv3d(3, 8, 3, padding=1), nn.Conv3d(3, 4, 3, padding=1)
        self.fuse = nn.Conv3d(4, 8, (5, 1, 1), stride=(4, 1, 1), padding=(2, 0, 0))
        self.fc = nn.Linear(20, 5)

    def forward(self, paths):
        slow, fast = self.keys
        paths = paths if self.writes else type(paths)(paths)
        paths[slow], paths[fast] = self.slow(paths[slow]), self.fast(paths[fast])
        paths[slow] = torch.cat([paths[slow], self.fuse(paths[fast])], 1)
        return self.fc(torch.cat([paths[key].mean((2, 3, 4)) for key in self.keys], 1))


def paths():
    clip = torch.randn(1, 3, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    return [clip[:, :, ::4], clip]


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("how", [lean3d.SpaceTime("rank1"), lean3d.ParallelSeparable()])
def test_a_list_is_passed_on_and_the_callers_stays_as_it_is(writes, how):
    net, given = Pathways(writes).eval(), paths()
    lean = lean3d.convert(net, how, example=given)
    assert [x.shape[1] for x in given] == [3, 3]
    assert all(torch.equal(a, b) for a, b in zip(given, paths(), strict=True))
    assert lean.conversion.checks
    assert lean(paths()).shape == (1, 5)


def test_a_dictionary_of_clips_is_passed_on():
    net = Pathways(True, named=True).eval()
    given = dict(zip(("slow", "fast"), paths(), strict=True))
    lean = lean3d.convert(net, lean3d.SpaceTime("rank1"), example=given)
    assert lean.conversion.checks
    assert given["slow"].shape[1] == 3


def test_a_full_rank_form_of_two_pathways_gives_their_answers():
    net = Pathways(True).eval()
    lean = lean3d.convert(net, lean3d.SpaceTime("rank1"), example=paths(), where=lambda *_: False)
    torch.testing.assert_close(lean(paths()), net(paths()))


def test_dissect_says_that_it_takes_one_clip():
    with pytest.raises(ConversionError, match="takes networks of one clip"):
        lean3d.convert(Pathways(False).eval(), lean3d.Dissect(), example=paths())
