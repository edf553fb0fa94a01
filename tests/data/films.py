"""Videos that tests write."""

import os
from pathlib import Path

import numpy as np

# real videos, where they are kept
FILMS = Path(os.environ.get("LEAN3D_DATA", Path(__file__).parents[3] / "shared" / "data")) / "video"
REAL = ("demo.mp4", (256, 340), 280), ("test.avi", (240, 320), 164)


def film(path, frames=12, size=(48, 64), codec="mpeg4", rate=10, options=None, encode=None):
    """A video whose frame `t` has brightness 10 t mod 230 + 10; returns the path."""
    import av

    random = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=encode or {})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for t in range(frames):
            noise = random.integers(-10, 11, (*size, 3))
            pixels = (noise + 10 * t % 230 + 10).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def brightness(frames):
    return [round(float(frame.pixels.float().mean())) for frame in frames]


def spoil(path, first, last, content=None):
    """Fill the packets from `first` to `last` with noise, or with one value; returns the path."""
    import av

    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data, random = bytearray(path.read_bytes()), np.random.default_rng(0)
    for at, size in packets[first : last + 1]:
        noise = random.integers(0, 256, size, dtype=np.uint8).tobytes()
        data[at : at + size] = noise if content is None else bytes([content]) * size
    path.write_bytes(data)
    return path
