"""Random 2D networks, written as the code that builds them."""

import re

import net_pieces
import torch
from hypothesis import strategies as st
from net_pieces import ACTS
from torch import nn


def lines(text: str, c: int = 0, more: int = 0) -> list[str]:
    """One piece a line; C stands for the channels, M for another number of them."""
    named = {"C": str(c), "M": str(more)}
    return re.sub(r"\b[CM]\b", lambda word: named[word[0]], text).strip().splitlines()


def _conv(draw, c):
    out, groups = draw(st.sampled_from([(c, 1), (2 * c, 1), (c, 2), (c, c), (6, 1), (4, 2)]))
    kernel, dilation = draw(st.sampled_from([(3, 1), (3, 1), (1, 1), (5, 1), (3, 2)]))
    kind = draw(st.sampled_from(["nn.Conv2d", "nn.Conv2d", "Standardised"]))
    mode = draw(st.sampled_from(["zeros"] * 4 + ["reflect", "replicate", "circular"]))
    same = dilation * (kernel // 2)
    more = f", bias={draw(st.booleans())}"
    more += f", padding_mode={mode!r}" if mode != "zeros" and kind == "nn.Conv2d" else ""
    return f"{kind}({c}, {out}, {kernel}, 1, {same}, {dilation}, {groups}{more})", out


# pools that keep the size see neighbouring slices, too, and those that count zeros see the border
POOLS = {
    "none": ["nn.Identity()"],
    "repeated": ["nn.MaxPool2d(3, 1, 1)", "nn.AvgPool2d(3, 1, 1, count_include_pad=False)"],
}
POOLS["repeated"] += ["fn('max_pool2d', 3, 1, 1)"]
POOLS["all"] = [*POOLS["repeated"], "nn.AvgPool2d(3, 1, 1)", "fn('avg_pool2d', 3, 1, 1)"]
PADS = """
nn.ReflectionPad2d(1)
nn.ZeroPad2d(1)
nn.ReplicationPad2d(1)
fn('pad', (1, 1, 1, 1))
fn('pad', (1, 1, 1, 1), mode='reflect')
fn('pad', (1, 1, 1, 1), mode='replicate')
"""
WHOLE = """
SE(C, 'mean')
SE(C, 'pool')
SE(C, 'linear')
SE(C, 'pool_flatten')
nn.InstanceNorm2d(C, affine=True)
nn.GroupNorm(M, C)
fn('response')
"""
DOWNS = """
nn.Conv2d(C, C, 3, 2, 1)
nn.Conv2d(C, C, 2, 2)
nn.MaxPool2d(2)
nn.AvgPool2d(2, ceil_mode=True)
fn('max_pool2d', 2)
fn('avg_pool2d', 2)
fn('every_second')
nn.PixelUnshuffle(2), nn.Conv2d(M, C, 1)
"""
UPS = """
nn.ConvTranspose2d(C, C, 2, 2)
nn.ConvTranspose2d(C, C, 4, 2, 1)
nn.Upsample(scale_factor=2)
nn.Upsample(scale_factor=2, mode='bilinear')
nn.Conv2d(C, M, 1), nn.PixelShuffle(2)
fn('interpolate', scale_factor=2)
fn('interpolate', scale_factor=2, mode='bilinear', align_corners=False)
"""


def _local(draw, c, pools):
    """What keeps the size and looks at neighbours at most."""
    kinds = "conv conv conv conv conv act norm last pool pad shuffle halves norm2d drop crop"
    kind = draw(st.sampled_from(kinds.split()))
    if kind == "conv":
        return _conv(draw, c)
    if kind == "act":
        acts = [f"Act({name!r})" for name in ACTS]
        acts += ["nn.ReLU(inplace=True)", "nn.LeakyReLU(0.1)", f"nn.PReLU({c})"]
        return draw(st.sampled_from(acts)), c
    if kind == "pool":
        return draw(st.sampled_from(POOLS[pools])), c
    if kind == "pad":
        return f"{draw(st.sampled_from(lines(PADS)))}, nn.Conv2d({c}, {c}, 3)", c
    codes = {
        "norm": f"nn.BatchNorm2d({c})",
        "last": f"ChannelsLast({c}, {c})",
        "shuffle": f"Shuffle({even(c)})",
        "halves": "fn('halves')",
        "norm2d": "fn('norm2d')",
        "drop": "nn.Dropout2d(0.2)",
        "crop": f"nn.Conv2d({c}, {c}, 3, padding=2), nn.ZeroPad2d(-1)",
    }
    return codes[kind], c


def even(c):
    """2, or 1 where that does not divide the channels."""
    return 1 + (c % 2 == 0)


def _resized(draw, c, pools):
    """Down by two, through something, and up again."""
    down, (inner, out) = draw(st.sampled_from(lines(DOWNS, c, 4 * c))), _local(draw, c, pools)
    if draw(st.booleans()):
        mode = draw(st.sampled_from(["nearest", "bilinear"]))
        return f"Bottleneck(nn.Sequential({down}), nn.Sequential({inner}), {mode!r})", c + out
    join = "" if out == c else f"nn.Conv2d({out}, {c}, 1), "
    return f"{down}, {inner}, {join}{draw(st.sampled_from(lines(UPS, c, 4 * c)))}", c


@st.composite
def networks(draw, *, whole: bool, pools: str) -> str:
    """Code of a 2D network on one channel.

    Args:
        whole: Whether pieces may look at all of the map at once.
        pools: Which of POOLS it may have.
    """
    c = draw(st.sampled_from([2, 4]))
    pieces = [f"nn.Conv2d(1, {c}, 3, padding=1)"]
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["local", "local", "residual", "cat", "resized", "whole"]))
        if kind == "residual":
            code, out = _local(draw, c, pools)
            code = f"Residual({code}{f', nn.Conv2d({out}, {c}, 1)' if out != c else ''})"
        elif kind == "cat":
            (one, first), (two, second) = _local(draw, c, pools), _local(draw, c, pools)
            code, c = f"Cat(nn.Sequential({one}), nn.Sequential({two}))", first + second
        elif kind == "resized":
            code, c = _resized(draw, c, pools)
        elif kind == "whole" and whole:
            code = draw(st.sampled_from(lines(WHOLE, c, even(c))))
        else:
            code, c = _local(draw, c, pools)
        pieces.append(code)
    if whole and draw(st.booleans()):
        pieces.append(f"Head({c}, 3, {draw(st.sampled_from(['mean', 'pool', 'max']))!r})")
    return f"Net({', '.join(pieces)})"


def build(code: str) -> nn.Module:
    """The network that code describes, its norms as if trained."""
    torch.manual_seed(0)
    net = eval(code, {**vars(net_pieces), "fn": net_pieces.Call})
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()
