"""Segment thick slices with an image backbone of timm, in 3D, and train it a few steps."""

import timm
import torch
import torch.nn.functional as F
from torch import nn

import lean3d


class Segmenter(nn.Module):
    def __init__(self, flat, num_classes):
        super().__init__()
        # 16 slices stay 16 through the first two of five downsamplings
        self.backbone = lean3d.convert(flat, lean3d.ACS(keep_depth=2))
        self.sides = nn.ModuleList(nn.Conv3d(c, 16, 1) for c in flat.feature_info.channels())
        self.head = nn.Conv3d(16, num_classes, 3, padding=1)

    def forward(self, x_BCDHW):
        maps = [side(y) for side, y in zip(self.sides, self.backbone(x_BCDHW), strict=True)]
        joined = sum(F.interpolate(y, maps[0].shape[2:], mode="trilinear") for y in maps)
        return F.interpolate(self.head(joined), x_BCDHW.shape[2:], mode="trilinear")


torch.manual_seed(0)
# with pretrained=True its weights go along
model = Segmenter(timm.create_model("resnet10t", features_only=True, in_chans=1), num_classes=3)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
volume, label = torch.randn(2, 1, 16, 64, 64), torch.randint(3, (2, 16, 64, 64))
losses = []
for _ in range(4):
    losses.append(loss := F.cross_entropy(model(volume), label))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("scores:", tuple(model(volume).shape), "the loss fell:", bool(losses[3] < losses[0]))
