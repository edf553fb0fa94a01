"""What has no meaning on a volume is refused: the module, the line of its code and the reason."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from zoo import timm, torchvision

from lean3d.conversion import ACS, ConversionError, Planar, convert

SCHEMA = """deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias,
int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w, int groups,
int offset_groups, bool use_mask) -> Tensor"""


def deform(x, weight, offset, mask, bias, *settings):
    """The compiled operator for stride 1, padding 1 and kernel 3, which cannot be loaded here."""
    height, width = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    taps = []
    for tap in range(9):
        y = rows + tap // 3 - 1 + offset[:, 2 * tap]
        z = columns + tap % 3 - 1 + offset[:, 2 * tap + 1]
        grid = torch.stack([2 * z / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
        taps.append(F.grid_sample(x, grid.to(x), align_corners=True))
    stacked = torch.stack(taps, 2).flatten(1, 2)
    return F.conv2d(stacked, weight.flatten(1)[:, :, None, None], bias)


@pytest.fixture(scope="module")
def _operator():
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define(SCHEMA)
    library.impl("deform_conv2d", deform, "CompositeImplicitAutograd")
    yield
    library._destroy()


class Deformed(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.offset = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 18, 3, padding=1)
        self.conv = torchvision.ops.DeformConv2d(4, 5, 3, padding=1)

    def forward(self, x):
        y = self.stem(x)
        return self.conv(y, self.offset(y))


def why_not(flat, how):
    with pytest.raises(ConversionError) as refused:
        convert(flat, how)
    return str(refused.value)


@pytest.mark.usefixtures("_operator")
@pytest.mark.parametrize("how", [ACS(), Planar()], ids=str)
def test_deformable_convolution(monkeypatch, how):
    monkeypatch.setattr(torchvision.ops.deform_conv, "_assert_has_ops", lambda: None)
    why = why_not(Deformed(), how)
    assert re.match(r"DeformConv2d at 'conv' .*deform_conv\.py:\d+: .*another output", why)


VIT = dict(model_name="vit_tiny_patch16_224", depth=1, img_size=32)
SWIN = dict(model_name="swin_tiny_patch4_window7_224", depths=(1, 1), num_heads=(1, 1), embed_dim=8)
MAXVIT = dict(model_name="maxvit_rmlp_pico_rw_256", depths=(1,), embed_dim=(32,), stem_width=8)
# what timm makes, and what the error says
TOKENS = {
    "one image size": (VIT, r"PatchEmbed at 'patch_embed' .*stops at .*patch_embed\.py:\d+"),
    "a table of positions": (
        VIT | dict(dynamic_img_size=True),
        r"VisionTransformer .*stops at .*pos_embed\.py:\d+",
    ),
    "windows of one image size": (
        SWIN | dict(img_size=28, patch_size=2),
        r"PatchEmbed at 'patch_embed' .*stops at .*patch_embed\.py:\d+",
    ),
    "windows": (
        SWIN | dict(img_size=56, strict_img_size=False),
        r"WindowAttention at 'layers\.0\.blocks\.0\.attn' .*swin_transformer\.py:\d+",
    ),
    "windows and grids": (
        MAXVIT | dict(img_size=64),
        r"MaxxVitBlock at 'stages\.0\.blocks\.0' .*maxxvit\.py:\d+.*another output",
    ),
    "an image size that only its settings tell": (
        MAXVIT | dict(img_size=352),
        r"MaxxVitBlock at 'stages\.0\.blocks\.0' .*maxxvit\.py:\d+.*another output",
    ),
}


@pytest.mark.parametrize("name", TOKENS)
def test_attention_over_tokens_of_an_image(name):
    settings, says = TOKENS[name]
    assert re.match(says, why_not(timm.create_model(**settings), ACS()))
