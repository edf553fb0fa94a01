"""The laws of conversion over random 2D networks."""

import copy
import io

import torch
from fuzz_law import fuzz, lawful
from fuzz_verdict import LONGEST
from random_nets import build, networks

from lean3d import ACS, ConversionError, Planar, convert, unconvert

SIZE = 12, 16


def over(share, surface, **options):
    inputs = fuzz(share, networks(**options))
    return lambda test: inputs(lawful(f"random networks, {surface}", test))


def apart(found, expected):
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-3))


def images(n):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(n, 1, *SIZE, generator=draw, dtype=torch.float64)


@over(0.03, "planar", whole=False, pools="none")
@torch.no_grad()
def test_planar_is_the_2d_network_slice_by_slice(code):
    flat, slices_DCHW = build(code).double(), images(5)
    deep = convert(flat, Planar(keep_depth=None))
    expected = flat(slices_DCHW).transpose(0, 1)
    assert apart(deep(slices_DCHW.transpose(0, 1).unsqueeze(0))[0], expected) < 1e-9


@over(0.03, "repeated image", whole=True, pools="repeated")
@torch.no_grad()
def test_planar_gives_a_repeated_image_the_2d_answer(code):
    flat, image = build(code).double(), images(1)
    deep = convert(flat, Planar())
    expected, found = flat(image), deep(image.unsqueeze(2).repeat_interleave(8, 2))
    if expected.ndim == 4:
        expected = expected.unsqueeze(2)
    assert apart(found, expected.expand_as(found)) < 1e-9


@over(0.04, "ACS", whole=True, pools="all")
def test_acs_is_isotropic_or_refused_and_comes_back(code):
    flat = build(code)
    deep = or_refused(flat)
    if deep is None:
        return
    assert deep.conversion.grade == "isotropic"
    image = images(1).float()
    volume = image.unsqueeze(2).repeat(1, 1, 6, 1, 1)
    with torch.no_grad():
        expected = deep(volume)
        for other in copy.deepcopy(deep), _through_a_file(deep):
            assert torch.equal(other(volume), expected)
        assert apart(unconvert(deep)(image), flat(image)) < 1e-6


def or_refused(flat):
    """The conversion, or None where one sentence says why there is none."""
    said = ""
    try:
        return convert(flat, ACS())
    except ConversionError as error:
        said = str(error)
    assert 0 < len(said) <= LONGEST
    return None


def _through_a_file(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)
