"""Converted torchvision networks against the same networks written with ACSConv3d.

    python benchmarks/run.py --theme convert_speed

Needs torchvision in .venv/zoo (see zoo.py).
"""

import importlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

import lean3d
from lean3d.cost.latency import interleaved, ratios, training_step
from lean3d.ops import ACSConv3d, PlanarConv3d

SHAPE = (1, 3, 16, 64, 64)


class Block(nn.Module):
    """The basic block of a ResNet over volumes."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.conv1 = ACSConv3d(channels, out, 3, stride, 1, bias=False)
        self.bn1, self.relu = nn.BatchNorm3d(out), nn.ReLU(inplace=True)
        self.conv2 = ACSConv3d(out, out, 3, 1, 1, bias=False)
        self.bn2, self.downsample = nn.BatchNorm3d(out), None
        if stride > 1 or channels != out:
            one = PlanarConv3d(channels, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(one, nn.BatchNorm3d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ACSConv3d(3, 64, 7, 2, 3, bias=False)
        self.bn1, self.relu = nn.BatchNorm3d(64), nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(3, 2, 1)
        for stage, (before, out) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], 1):
            blocks = nn.Sequential(Block(before, out, 1 + (stage > 1)), Block(out, out, 1))
            setattr(self, f"layer{stage}", blocks)
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        y = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        return self.fc(y.mean((2, 3, 4)))


def unit(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    kind = ACSConv3d if kernel > 1 else PlanarConv3d
    conv = kind(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(out), nn.ReLU6(inplace=True))


class Inverted(nn.Module):
    """The inverted residual of MobileNetV2 over volumes."""

    def __init__(self, channels: int, out: int, stride: int, expand: int):
        super().__init__()
        wide, self.residual = channels * expand, stride == 1 and channels == out
        layers = [] if expand == 1 else [unit(channels, wide, 1)]
        last = PlanarConv3d(wide, out, 1, bias=False)
        self.conv = nn.Sequential(
            *layers, unit(wide, wide, 3, stride, wide), last, nn.BatchNorm3d(out)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [unit(3, 32, 3, 2)]
        channels = 32
        stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1)]
        for expand, out, blocks, stride in [*stages, (6, 160, 3, 2), (6, 320, 1, 1)]:
            for block in range(blocks):
                layers.append(Inverted(channels, out, 1 if block else stride, expand))
                channels = out
        self.features = nn.Sequential(*layers, unit(channels, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3, 4)))


NETWORKS = {"resnet18": (ResNet18, 1.1), "mobilenet_v2": (MobileNetV2, 1.3)}


def convert_speed(rounds: int) -> list[dict]:
    """Time of the converted network by that of the same one written with ACSConv3d.

    Both hold the same weights and give the same answer; 16 x 64 x 64 voxels, batch 1 in eval and 2
    in training.
    """
    torchvision = importlib.import_module("zoo").torchvision
    rows = []
    for name, (native, target) in NETWORKS.items():
        flat = torchvision.models.get_model(name, weights=None)
        both = {"native": native(), "converted": lean3d.convert(flat, lean3d.ACS())}
        both["native"].load_state_dict(both["converted"].state_dict())
        rows.append({"network": name, **_compared(both, rounds), "target": target})
    return rows


def _compared(both: dict[str, nn.Module], rounds: int) -> dict[str, float]:
    x = torch.randn(SHAPE)
    with torch.no_grad():
        outputs = [model.eval()(x) for model in both.values()]
        torch.testing.assert_close(*outputs)
        calls = {name: _quietly(model, x) for name, model in both.items()}
        inference = ratios(interleaved(calls, rounds), "native")["converted"]
    x = torch.randn(2, *SHAPE[1:])
    steps = {name: training_step(model.train(), x) for name, model in both.items()}
    training = ratios(interleaved(steps, rounds), "native")["converted"]
    return {"inference, x native": inference, "training, x native": training}


def _quietly(model: nn.Module, x: Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.no_grad():
            return model(x)

    return call
