"""Segment thick slices with an image backbone of timm, in 3D, and train it a step."""

import timm
import torch
import torch.nn.functional as F
from torch import nn

import lean3d


class Segmenter(nn.Module):
    def __init__(self, flat, num_classes):
        super().__init__()
        self.backbone = lean3d.convert(flat, lean3d.ACS(keep_depth=2))  # 16 slices end as 2
        counts = flat.feature_info.channels()
        self.heads = nn.ModuleList(nn.Conv3d(count, num_classes, 1) for count in counts)

    def forward(self, x_BCDHW):
        scores = [head(y) for head, y in zip(self.heads, self.backbone(x_BCDHW), strict=True)]
        return sum(F.interpolate(y, x_BCDHW.shape[2:], mode="trilinear") for y in scores)


torch.manual_seed(0)  # with pretrained=True the weights go along
model = Segmenter(timm.create_model("resnet10t", features_only=True, in_chans=1), num_classes=3)
volume, label = torch.randn(2, 1, 16, 64, 64), torch.randint(3, (2, 16, 64, 64))
before = F.cross_entropy(model(volume), label)
before.backward()
torch.optim.AdamW(model.parameters(), lr=1e-3).step()
fell = F.cross_entropy(scores := model(volume), label) < before
print("scores:", tuple(scores.shape), "the loss fell:", bool(fell))
