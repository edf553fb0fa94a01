"""Two live videos through one network, one of them saved and taken up again in between."""

import tempfile
from pathlib import Path

import torch

import lean3d

model = lean3d.create_model("d_resnet_18", widths=(16, 16, 32, 32), num_classes=27).eval()
live = lean3d.stream(model)


def camera(seed):
    """Stands in for a camera: frames (1, 3, 64, 64) as they come."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(1, 3, 64, 64, generator=draw)


first, second = camera(1), camera(2)
state = live.init(batch_size=1)
for _ in range(10):  # one camera alone
    scores, state = live.step(next(first), state)

state = live.stack([state, live.init()])  # a second one joins
for _ in range(10):
    scores, state = live.step(torch.cat([next(first), next(second)]), state)

with tempfile.TemporaryDirectory() as folder:  # the first moves to another machine
    torch.save(live.unbind(state)[0], Path(folder) / "first.pt")
    state = torch.load(Path(folder) / "first.pt", weights_only=True)
scores, state = live.step(next(first), state)

print(f"{int(state['t'])} frames of the first camera, {tuple(scores.shape)} scores each")
size = live.state_bytes(height=112, width=112)
print(f"a stream of 112 x 112 keeps {size.total:,} bytes, {size.cache:,} of them cache")
