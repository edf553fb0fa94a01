"""Networks as the peers build and name them, each with its own forward."""

import torch
import torch.nn.functional as F
from torch import nn
from warm_norms import warm_norms

WIDTHS = (4, 6, 8, 10)
BLOCKS = (3, 4, 6, 3)


def trained(model):
    """With statistics, gains and shifts as if it had been trained."""
    torch.manual_seed(0)
    for module in warm_norms(model).modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    return model.eval()


class HaraBlock(nn.Module):
    """A basic block, or a bottleneck where `out` is wider than its kernels of 3."""

    def __init__(self, channels, width, out, stride, shortcut, groups=1, dilation=1):
        super().__init__()
        wide = dict(padding=dilation, dilation=dilation, groups=groups)
        kernels = [(channels, width, 3, stride, wide), (width, width, 3, 1, wide)]
        if out > width:
            ends = (channels, width, 1, 1, {}), (width, out, 1, 1, {})
            kernels = [ends[0], (width, width, 3, stride, wide), ends[1]]
        for place, (before, after, size, step, more) in enumerate(kernels, start=1):
            conv = nn.Conv3d(before, after, size, step, bias=False, **more)
            self.add_module(f"conv{place}", conv)
            self.add_module(f"bn{place}", nn.BatchNorm3d(after))
        self.downsample = None
        if shortcut == "B" and (channels, stride) != (out, 1):
            conv = nn.Conv3d(channels, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm3d(out))
        self.stride, self.more, self.last = stride, out - channels, len(kernels)

    def forward(self, x):
        shortcut = F.avg_pool3d(x, 1, self.stride) if self.stride > 1 else x
        shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, 0, 0, self.more))
        shortcut = shortcut if self.downsample is None else self.downsample(x)
        for place in range(1, self.last + 1):
            x = getattr(self, f"bn{place}")(getattr(self, f"conv{place}")(x))
            x = x if place == self.last else F.relu(x)
        return F.relu(x + shortcut)


class HaraResNet(nn.Module):
    """3D-ResNets-PyTorch's networks; Efficient-3DCNNs' ResNeXt by `groups`, MedicalNet's trunk."""

    def __init__(
        self,
        in_channels=3,
        num_classes=7,
        widths=WIDTHS,
        shortcut="A",
        blocks=(2, 2, 2, 2),
        expansion=1,
        groups=1,
        medical=False,
    ):
        super().__init__()
        stride = (2, 2, 2) if medical else (1, 2, 2)
        self.conv1 = nn.Conv3d(in_channels, widths[0], 7, stride, 3, bias=False)
        self.bn1 = nn.BatchNorm3d(widths[0])
        channels = widths[0]
        steps, dilations = ((1, 2, 1, 1), (1, 1, 2, 4)) if medical else ((1, 2, 2, 2), (1,) * 4)
        for stage, count in enumerate(blocks):
            # the kernels of a ResNeXt are twice as wide
            width, layer = widths[stage] * (1 if groups == 1 else 2), nn.Sequential()
            out = widths[stage] * expansion
            for block in range(count):
                step = 1 if block else steps[stage]
                more = dict(groups=groups, dilation=dilations[stage])
                layer.append(HaraBlock(channels, width, out, step, shortcut, **more))
                channels = out
            self.add_module(f"layer{stage + 1}", layer)
        self.fc = nn.Linear(channels, num_classes) if num_classes else nn.Identity()

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
