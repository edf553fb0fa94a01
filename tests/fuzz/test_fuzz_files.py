"""Damaged scans and videos are read, or refused in one sentence that names the file."""

from fuzz_edits import NIFTI
from fuzz_files import LIVE, NAME, SEGMENT
from fuzz_law import fuzz, hold
from fuzz_verdict import Input
from fuzz_words import words
from hypothesis import strategies as st

SHARE = st.floats(0, 1)
FLIPS = st.tuples(st.lists(SHARE, min_size=1, max_size=8), st.integers(1, 255))
ANOTHER = words("""
folder loop empty missing notes.txt film.avi scan.nii stills/0.png
""")
DAMAGE = st.one_of(
    SHARE.map(lambda share: f"cut(F, {share})"),
    FLIPS.map(lambda d: f"flip(F, {d[0]}, {d[1]})"),
    st.tuples(SHARE, SHARE).map(lambda d: f"blank(F, {d[0]}, {d[1] * d[1]})"),
    st.sampled_from(["film.avi", "scan.nii", "notes.txt"]).map(lambda f: f"double(F, {f!r})"),
    st.sampled_from(ANOTHER).map(lambda kind: f"become(F, {kind!r})"),
)
NUMBERS = words("""
0 1 -1 2 3 4 7 16 64 127 128 255 256 512 1024 1536 1792 2048 2304 32767 -32768 0.5 348 352 2000
1e9 -1e9 3e38 1e-38 float('nan') float('inf') -float('inf')
""")
HEADERS = st.tuples(st.sampled_from(sorted(NIFTI)), st.integers(0, 11), st.sampled_from(NUMBERS))
HEADER = HEADERS.map(lambda h: f"edit_nifti(F, {h[0]!r}, {h[1]}, {h[2]})")
PACKED = ["", "pack(F, F + '.gz')", "pack(F, F + '.gz', 10**7)"]
PACKED += ["pack(F, F + '.gz'); cut(F + '.gz', 0.9)"]
SAVE = """
from lean3d.data import load_volume, save_mask
v = load_volume(NAME)
save_mask('m.nii.gz', torch.zeros(v.image.shape[1:], dtype=torch.int64), v, like=NAME)
"""
SPACING = """
from lean3d.data import load_volume
load_volume(NAME, NAME, spacing_mm=2.0, num_classes=3)
"""
# one more case in the place of the second, whose other half is whole
CASE = """
import os
for kind in "images", "labels":
    os.remove(f"data/{kind}/c1.nii.gz")
    shutil.copy(f"data/{kind}/c0.nii.gz", f"data/{kind}/c9.nii.gz")
if os.path.isfile(NAME):
    os.remove(f"data/KIND/c9.nii.gz")
    shutil.copy(NAME, "data/KIND/c9" + NAME.removeprefix("scan"))
"""


@st.composite
def scans(draw) -> Input:
    """A scan with another header, or other bytes, read by each thing that reads scans."""
    edits = draw(st.lists(st.one_of(HEADER, HEADER, DAMAGE), min_size=1, max_size=3))
    packed = draw(st.sampled_from(PACKED))
    name = "scan.nii.gz" if packed else "scan.nii"
    start = ["from fuzz_edits import *", "F = 'scan.nii'", f"NAME = {name!r}"]
    setup = "\n".join([*start, *edits, packed])
    what = draw(st.sampled_from(["predict", "images", "labels", "save", "spacing"]))
    if what == "predict":
        argv = ("predict", name, "--run", "run", "--out", "out.nii")
        return Input("scans", argv, setup=setup)
    if what in ("images", "labels"):
        setup += CASE.replace("KIND", what)
        return Input("scans", (*SEGMENT, "--out", "made"), setup=setup)
    return Input("scans", code=SAVE if what == "save" else SPACING, setup=setup)


READ = """
from lean3d.data.source import open_frames
for frame in open_frames(SOURCE):
    pass
"""


@st.composite
def videos(draw) -> Input:
    """A damaged video where one is watched or learnt from."""
    name = draw(st.sampled_from(["film.mp4", "film.avi", "stills/1.png", "films/a/0.mp4"]))
    edits = draw(st.lists(DAMAGE, min_size=1, max_size=2))
    setup = f"from fuzz_edits import *\nF = {name!r}\n" + "\n".join(edits)
    source = "stills" if name.startswith("stills") else name
    way = draw(st.sampled_from(["watch", "watch", "model", "write", "read", "train"]))
    if way == "read":
        return Input("videos", code=READ, setup=f"{setup}\nSOURCE = {source!r}")
    argv = {
        "watch": ("stream", "named", source, "--json"),
        "model": ("stream", "d_resnet_18", *LIVE, source, "film.mp4", "--limit", "5"),
        "write": ("stream", "named", source, "--out", "out.mp4"),
        "train": (*NAME, "--out", "made"),
    }[way]
    return Input("videos", argv, setup=setup)


@fuzz(0.14, scans())
def test_damaged_scans_are_read_or_refused_in_one_sentence(asked):
    hold(asked)


@fuzz(0.07, videos())
def test_damaged_videos_are_read_or_refused_in_one_sentence(asked):
    hold(asked)
