"""Clips a second from ten-second films, 340 x 256, H.264: by lean3d, and by reading from the front.

    python benchmarks/decoding.py [--videos 4] [--clips 24] [--rounds 5] [--step 1]

A clip is 16 frames from a random place. Loaders that know no key frames decode a film from its
first frame on, by PyAV: all of it (whole film), or up to the last frame of the clip, and make a
picture of each frame (to the clip) or of those of the clip alone (to the clip, its pictures).
lean3d seeks to the key frame before the clip, and leaves out frames before it that no other is made
from. All give equal frames, which is checked. Rounds are interleaved; a figure is the median of its
rounds, of a second of one core (processor time: other programs may run beside it). torchcodec is
measured where it loads: it needs FFmpeg's libraries, such as those of PyAV under their plain names
(libavcodec.so.62) in a folder on LD_LIBRARY_PATH. How far apart the key frames of a film are
decides: x264's default is up to 250 frames; films for training are often written with one a second,
or with 12.

A frame is made from those before it, back to a key frame, so these have to be decoded as well. The
time of that alone, without opening the file, frames of the clip, or pictures, is the share before
the clip; nothing that gives equal frames can be more times as fast as the whole film than "at
most" says, the time of the whole film over that of opening the file and these frames.
"""

import argparse
import datetime
import importlib.metadata
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from run import commit, hardware, markdown, results_file

from lean3d.data.frame_times import FrameTimes, measure
from lean3d.data.video import VideoFile
from lean3d.data.video_clips import read_clip
from lean3d.files import write_text
from lean3d.report.table import format_table

WIDTH, HEIGHT, FPS, SECONDS = 340, 256, 30, 10
FRAMES = 16
GAPS = 12, 30, 250

# the pictures of a clip, (H, W, 3)
Clip = Callable[[Path, list[int]], Sequence[torch.Tensor]]


def film(path: Path, gap: int, seed: int) -> None:
    """A textured scene that moves, with noise; a key frame every `gap` frames at most."""
    random = np.random.default_rng(seed)
    scene = random.integers(0, 256, (HEIGHT // 8 + 48, WIDTH // 8 + 48, 3), dtype=np.uint8)
    scene = scene.repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"g": str(gap)})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for t in range(FPS * SECONDS):
            picture = scene[t : t + HEIGHT, t : t + WIDTH] // 2
            picture = picture + random.integers(0, 16, picture.shape, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def front(
    path: Path, numbers: list[int], every: bool, whole: bool = False
) -> Sequence[torch.Tensor]:
    """Decode from the first frame to the last one of the clip, or of the film."""
    found = []
    wanted = set(numbers)
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if every or number in wanted:
                picture = frame.to_ndarray(format="rgb24")
                if number in wanted:
                    found.append(torch.from_numpy(picture))
            if number == numbers[-1] and not whole:
                break
    return found


def ours(times: dict[Path, FrameTimes]) -> Clip:
    return lambda path, numbers: read_clip(path, numbers, times[path])


def before(path: Path, times: FrameTimes, numbers: list[int]) -> tuple[float, float]:
    """Seconds of opening the file, and of decoding from the key frame to the clip."""
    started = time.process_time()
    video = VideoFile(path, threads=1)
    opened = time.process_time()
    first = times.tick(numbers[0])
    video.container.seek(first, stream=video.stream)
    # frames that no other is made from are left out, as read_clip does
    for frame in video.frames({first}):
        if frame.pts >= first:
            break
    done = time.process_time()
    video.close()
    return opened - started, done - opened


def theirs() -> Clip | None:
    if importlib.util.find_spec("torchcodec") is None:
        return None
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError):  # without FFmpeg's libraries
        return None

    def clip(path: Path, numbers: list[int]) -> Sequence[torch.Tensor]:
        decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1)
        return list(decoder.get_frames_at(numbers).data)

    return clip


def ways(paths: list[Path]) -> dict[str, Clip]:
    found: dict[str, Clip] = {
        "whole film": lambda path, numbers: front(path, numbers, True, whole=True),
        "to the clip": lambda path, numbers: front(path, numbers, True),
        "to the clip, its pictures": lambda path, numbers: front(path, numbers, False),
        "lean3d": ours({path: measure(path) for path in paths}),
    }
    other = theirs()
    return found if other is None else found | {"torchcodec": other}


def seconds(clip: Clip, asked: list[tuple[Path, list[int]]]) -> float:
    started = time.process_time()
    for path, numbers in asked:
        clip(path, numbers)
    return time.process_time() - started


def compared(
    gap: int, videos: int, clips: int, rounds: int, step: int, folder: Path
) -> dict[str, str]:
    paths = [folder / f"{gap}_{number}.mp4" for number in range(videos)]
    for number, path in enumerate(paths):
        film(path, gap, number)
    random = np.random.default_rng(0)
    asked = []
    for number in range(clips):
        first = int(random.integers(FPS * SECONDS - FRAMES * step))
        numbers = list(range(first, first + FRAMES * step, step))
        asked.append((paths[number % videos], numbers))
    known = ways(paths)
    for path, numbers in asked[:videos]:
        first_way, *others = (torch.stack(list(clip(path, numbers))) for clip in known.values())
        for other in others:
            assert other.shape == first_way.shape
            # rounding of the colours differs between swscale's paths by one
            assert int((other.int() - first_way.int()).abs().max()) <= 1
    times = {path: measure(path) for path in paths}
    taken: dict[str, list[float]] = {name: [] for name in known}
    needed = []
    for _ in range(rounds):
        needed.append(sum(np.array(before(path, times[path], numbers)) for path, numbers in asked))
        for name, clip in known.items():
            taken[name].append(clips / seconds(clip, asked))
    speed = {name: statistics.median(values) for name, values in taken.items()}
    row = {"key frame every": str(gap), **{name: f"{value:.0f}" for name, value in speed.items()}}
    for name in ("whole film", "to the clip"):
        row[f"times {name}"] = f"{speed['lean3d'] / speed[name]:.1f}"
    opening, decoding = np.median(needed, axis=0) / clips
    row["before the clip"] = f"{100 * decoding * speed['lean3d']:.0f} %"
    row["at most"] = f"{1 / (opening + decoding) / speed['whole film']:.1f}"
    if "torchcodec" in speed:
        row["times torchcodec"] = f"{speed['lean3d'] / speed['torchcodec']:.2f}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("videos", 4), ("clips", 24), ("rounds", 5), ("step", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        given = asked.videos, asked.clips, asked.rounds, asked.step, Path(folder)
        rows = [compared(gap, *given) for gap in GAPS]
    print(format_table(rows))
    peer = " torchcodec does not load on this machine."
    if theirs() is not None:
        peer = f" torchcodec {importlib.metadata.version('torchcodec')} on PyAV's FFmpeg."
    text = (
        f"# decoding\n\n{__doc__.split(chr(10) * 2, 2)[2]}\n{hardware()}; PyAV {av.__version__}; "
        f"commit {commit()}; {datetime.date.today()}; clips a second of {asked.videos} films, "
        f"every {asked.step}. frame, {asked.clips} clips a round, {asked.rounds} rounds.{peer}"
        f"\n\n{markdown(rows)}\n"
    )
    write_text(results_file("decoding"), text)


if __name__ == "__main__":
    main()
