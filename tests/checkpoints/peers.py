"""Networks as the peers build and name them, each with its own forward."""

import torch
import torch.nn.functional as F
from torch import nn

WIDTHS = (4, 6, 8, 10)
BLOCKS = (3, 4, 6, 3)


def trained(model):
    """With statistics, gains and shifts as if it had been trained."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    return model.eval()


class ConvModule(nn.Module):
    """mmcv's: `conv`, `bn` with the epsilon 1e-3, and a ReLU if there is one."""

    def __init__(self, channels, out, kernel, stride=1, groups=1, relu=True):
        super().__init__()
        size = dict(stride=stride, padding=tuple(k // 2 for k in kernel), groups=groups, bias=False)
        self.conv = nn.Conv3d(channels, out, kernel, **size)
        self.bn = nn.BatchNorm3d(out, eps=1e-3)
        self.relu = relu

    def forward(self, x):
        x = self.bn(self.conv(x))
        return F.relu(x) if self.relu else x


class MMBottleneck(nn.Module):
    def __init__(self, channels, width, stride, mode):
        super().__init__()
        out, point = 4 * width, (1, 1, 1)
        self.conv1 = ConvModule(channels, width, point)
        middle = [ConvModule(width, width, point, relu=False)] if mode == "ip" else []
        self.conv2 = nn.Sequential(*middle, ConvModule(width, width, (3, 3, 3), stride, width))
        self.conv3 = ConvModule(width, out, point, relu=False)
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = ConvModule(channels, out, point, stride, relu=False)

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv3(self.conv2(self.conv1(x))) + shortcut)


class MMCSN(nn.Module):
    """mmaction2's Recognizer3D with ResNet3dCSN of 50 layers and an I3DHead."""

    def __init__(self, mode, widths=WIDTHS, num_classes=7):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.conv1 = ConvModule(3, widths[0], (3, 7, 7), (1, 2, 2))
        self.backbone.maxpool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        channels = widths[0]
        for stage, (width, blocks) in enumerate(zip(widths, BLOCKS, strict=True), start=1):
            layer = nn.Sequential()
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                layer.append(MMBottleneck(channels, width, stride, mode))
                channels = 4 * width
            self.backbone.add_module(f"layer{stage}", layer)
        self.cls_head = nn.Module()
        self.cls_head.fc_cls = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.backbone.maxpool(self.backbone.conv1(x))
        for stage in range(1, 5):
            x = getattr(self.backbone, f"layer{stage}")(x)
        return self.cls_head.fc_cls(x.mean((2, 3, 4)))


class HaraBlock(nn.Module):
    def __init__(self, channels, width, stride, shortcut):
        super().__init__()
        self.downsample = None
        if shortcut == "B" and (channels, stride) != (width, 1):
            conv = nn.Conv3d(channels, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm3d(width))
        self.conv1 = nn.Conv3d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.stride, self.more = stride, width - channels

    def forward(self, x):
        shortcut = F.avg_pool3d(x, 1, self.stride) if self.stride > 1 else x
        shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, 0, 0, self.more))
        shortcut = shortcut if self.downsample is None else self.downsample(x)
        x = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(x + shortcut)


class HaraResNet(nn.Module):
    """3D-ResNets-PyTorch's resnet18."""

    def __init__(self, in_channels=3, num_classes=7, widths=WIDTHS, shortcut="A"):
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, widths[0], 7, (1, 2, 2), 3, bias=False)
        self.bn1 = nn.BatchNorm3d(widths[0])
        channels = widths[0]
        for stage, width in enumerate(widths, start=1):
            first = HaraBlock(channels, width, 2 if stage > 1 else 1, shortcut)
            second = HaraBlock(width, width, 1, shortcut)
            self.add_module(f"layer{stage}", nn.Sequential(first, second))
            channels = width
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = F.max_pool3d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3, 4)))


def blobs(tensors):
    """Caffe2's names for the tensors of a network named as lean3d does."""
    ends = dict(weight="s", bias="b", running_mean="rm", running_var="riv")
    first, numbers, block = {}, {}, -1
    for name in tensors:
        if name.startswith("layer"):
            place = ".".join(name.split(".")[:2])
            block += place not in numbers
            numbers.setdefault(place, block)
    reduced = tensors.get("layer1.0.conv2.0.weight")
    reduced = reduced is not None and reduced.shape[1] == 1
    split_stem = "stem.3.weight" in tensors
    for name, value in tensors.items():
        *path, part = name.split(".")
        if part == "num_batches_tracked":
            continue
        norm = part != "weight" or value.ndim == 1
        if path[0] == "fc":
            new = f"last_out_L{tensors['fc.weight'].shape[0]}_{part[0]}"
        elif path[0] == "stem":
            start = "conv1_middle" if split_stem and path[1] in "01" else "conv1"
            new = f"{start}_spatbn_relu_{ends[part]}" if norm else f"{start}_w"
        else:
            number = numbers[".".join(path[:2])]
            if path[2] == "downsample":
                new = f"shortcut_projection_{number}"
                new += f"_spatbn_{ends[part]}" if norm else "_w"
            else:
                order = int(path[2][-1])
                order = {1: 1, 2: 3, 3: 4}[order] if reduced else order
                middle = "_middle" if len(path) == 5 and path[4] in "01" else ""
                kind = "spatbn" if norm else "conv"
                new = f"comp_{number}_{kind}_{order}{middle}_{ends[part] if norm else 'w'}"
        first[new] = value
    return first
