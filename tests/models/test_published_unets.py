"""U-Nets of papers: their parameters and shapes, on the meta device."""

import pytest
import torch

from lean3d.errors import LeanError
from lean3d.models import create_model

PAPERS = {
    "unet3d_cicek": (19_069_955, (116, 132, 132), (28, 44, 44)),
    "unet3d_funke": (87_753_495, (84, 268, 268), (56, 56, 56)),
}


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_has_the_parameters_and_the_shapes_of_its_paper(name, padding):
    parameters, given, returned = PAPERS[name]
    with torch.device("meta"), torch.no_grad():
        model = create_model(name, padding=padding)
        assert sum(p.numel() for p in model.parameters()) == parameters
        scores = model(torch.empty(1, model.in_channels, *given))
    assert scores.shape == (1, 3, *(given if padding == "same" else returned))


@pytest.mark.parametrize("name", PAPERS)
def test_padding_changes_nothing_far_from_the_edge(name):
    torch.manual_seed(0)
    small = dict(widths=(2, 3), in_channels=1)
    same = create_model(name, **small).eval()
    valid = create_model(name, padding="valid", **small).eval()
    valid.load_state_dict(same.state_dict())
    x = torch.randn(1, 1, 20, 26, 26)
    # two voxels before the first pool: a pool of 3 begins with the third, or one before the first
    front = 1 if name == "unet3d_funke" else 0
    with torch.no_grad():
        inner = valid(x)
        whole = same(torch.nn.functional.pad(x, (front, 0, front, 0)))[..., front:, front:]
    margin = [(a - b) // 2 for a, b in zip(whole.shape[2:], inner.shape[2:], strict=True)]
    z, y, x_ = (slice(m, m + n) for m, n in zip(margin, inner.shape[2:], strict=True))
    torch.testing.assert_close(whole[..., z, y, x_], inner)


def test_the_first_pools_leave_the_depth_alone():
    model = create_model("unet3d_cicek", widths=(2, 3, 4), in_channels=1, keep_depth=1)
    assert [pool.kernel_size for pool in model.pools] == [(1, 2, 2), (2, 2, 2)]
    assert model(torch.zeros(1, 1, 5, 9, 11)).shape == (1, 3, 5, 9, 11)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("unet3d_cicek", dict(padding="reflect")),
        ("unet3d_cicek", dict(widths=(8,))),
        ("unet3d_cicek", dict(keep_depth=4)),
        ("unet3d_funke", dict(widths=(8,))),
    ],
)
def test_refuses_in_one_sentence(name, change):
    with pytest.raises(LeanError, match="U-Net"):
        create_model(name, **change)
