"""Write a video of a moving digit, then name every frame of it as it plays."""

import tempfile
from pathlib import Path

import lean3d
from lean3d.data import MOTIONS, MovingDigits
from lean3d.data.prefetch import Prefetch
from lean3d.data.source import open_frames
from lean3d.data.video_write import write_video
from lean3d.infer.live import Session

film = Path(tempfile.mkdtemp()) / "digit.mp4"
pixels_TCHW, label = MovingDigits(1, frames=12, size=64).pixels(13)
with write_video(film, fps=25) as writer:
    for t, pixels_CHW in enumerate(pixels_TCHW):
        writer.write((255 * pixels_CHW).byte().permute(1, 2, 0), t / 25)

# a run of `lean3d train digits` would know; these weights are random
model = lean3d.create_model("d_resnet_18", num_classes=len(MOTIONS), widths=(8, 16, 32, 64))
session = Session(lean3d.stream(model.eval()), [Prefetch(open_frames(str(film)))], size=(32, 32))
seen = [answer.frame.index for answers in session for answer in answers]
print(f"{len(seen)} frames of {MOTIONS[label]}, each named as it came")
