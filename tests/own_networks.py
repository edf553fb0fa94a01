"""Networks as a user writes them: in a class, in functions that take more or less."""

from torch import nn


class Pixels(nn.Module):
    """A 2D network that scores every pixel."""

    def __init__(self, in_channels=3, num_classes=5, width=4):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU())
        self.decoder = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x):
        return self.head(self.decoder(self.encoder(x)))


class Classes(nn.Module):
    """A 2D network that classifies images."""

    def __init__(self, in_channels=3, num_classes=5, width=4):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


def plain():
    return Pixels()


def other_names(n_channels, classes, width=2):
    return Pixels(n_channels, classes, width)


def pretrained(num_classes, weights=None):
    model = Pixels(3, num_classes)
    if weights is not None:
        nn.init.ones_(model.head.weight)
    return model


def number():
    return 3


made = Pixels(1, 2)
