"""torchvision's video networks and ours: the same names, the same answers."""

import pytest
import torch
from torch import nn
from zoo import torchvision

from lean3d.models import create_model

SAME = {
    "r3d_18": ("resnet3d_18", dict(pool1=False)),
    "mc3_18": ("mc3_18", {}),
    "r2plus1d_18": ("r2plus1d_18", dict(midplanes="torchvision")),
}


@pytest.mark.parametrize("name", SAME)
def test_the_weights_load_by_name_and_give_the_same_scores(name):
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None, num_classes=5).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm3d):  # as if it were trained
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    own, options = SAME[name]
    ours = create_model(own, num_classes=5, **options).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 5, 33, 35)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))
