"""Numbers of README and docs are those of the files that commands wrote."""

import csv
import json
import re
from collections import Counter
from pathlib import Path
from statistics import fmean

from papers.acs.shape_text import PAPER
from papers.acs.shape_unet import solid_unet
from papers.results import Results, spread

HOME = Path(__file__).parents[1]
NAMES = {8: "eight", 9: "nine", 10: "ten", 11: "eleven", 12: "twelve"}


def page(name):
    """Its text on one line."""
    return " ".join((HOME / name).read_text().split())


def test_the_first_comparison_of_readme_is_that_of_the_paper_page():
    names = {"2.5D, 2D weights": "2.5D p.", "ACS from scratch": "ACS r."}
    names |= {"3D from scratch": "3D r.", "ACS, 2D weights": "ACS p."}
    runs = []
    for file in ("shapes.json", "shapes_paper.json"):
        path = HOME / "papers/acs" / file
        runs.append(Results(path, json.loads(path.read_text())["settings"]))
    for row, name in names.items():
        dice = [results.values(name, "dice") for results in runs]
        (params, small, full, paper) = re.findall(
            rf"\| {row} \| (\S+) \| ([^|]+) \| ([^|]+) \| (\S+) \|", page("README.md")
        )[0]
        assert [len(values) for values in dice] == [3, 3]
        assert [small, full] == [spread(values) for values in dice]
        assert float(paper) == PAPER[name][0]
        model = solid_unet(name.split()[0], (64, 128), 0)
        assert params == f"{sum(p.numel() for p in model.parameters()):,}"


def test_gestures_of_the_training_page_are_those_of_the_paper_page():
    measured = json.loads((HOME / "papers/d3d/gestures.json").read_text())
    found: dict = {}
    for entry in measured["entries"]:
        found.setdefault(entry["name"], []).append(entry)
    skips = ("concat", "none", "sum")
    top, macs = (
        {name: fmean(entry[key] for entry in found[name]) for name in (*skips, "3D-ResNet-18")}
        for key in ("top-1", "MACs per answer")
    )
    seeds: dict = {}
    for entry in found["heads"]:
        for row in entry["heads"]:
            seeds.setdefault(row["head"], []).append(100 * row["top-1"])
    heads = [fmean(values) for name, values in seeds.items() if name != "fc"]
    text = page("docs/training.md")
    assert f"{100 * top['concat']:.1f} % (temporal skips by concatenation)" in text
    assert f"{100 * top['none']:.1f} % (none) and {100 * top['sum']:.1f} % (by sum)" in text
    small = [macs[name] / 1e6 for name in skips]
    tests = measured["settings"]["tests"]
    assert f"{tests:,} test videos at {min(small):.2f} to {max(small):.2f} MMACs" in text
    rival = f"{100 * top['3D-ResNet-18']:.1f} % at {macs['3D-ResNet-18'] / 1e6:.2f} MMACs"
    assert rival in text
    assert f"recurrent heads on the first network {min(heads):.1f} to {max(heads):.1f} %" in text


def test_small_and_large_clips_of_the_training_page_are_those_of_the_paper_page():
    rows = re.findall(r"\| (whole clips|by turns)[^|]*epochs \|(.*)\|", page_lines("papers/stdcf"))
    whole, short, long = ([cell.strip() for cell in row.split("|")] for _, row in rows[:3])
    text = page("docs/training.md")
    assert f"takes {short[1]} MB of memory in all where whole clips take {whole[1]} MB" in text
    assert f"classifies {short[2]} % of whole clips where training on whole clips gives" in text
    assert f"gives {whole[2]} %, and {long[2]} %" in text


def page_lines(folder):
    return (HOME / folder / "README.md").read_text()


def streams():
    (table,) = sorted((HOME / "benchmarks/results").glob("streaming_*.md"))[-1:]
    rows = [line.strip("| ").split(" | ") for line in table.read_text().splitlines()]
    return {(row[0], row[1]): row for row in rows if len(row) == 7}


def test_speeds_of_the_streaming_page_are_those_measured():
    rows, text = streams(), page("docs/streaming.md")
    causal = rows["D-ResNet-18 step", "3D-ResNet-18 on its last 16 frames"]
    assert (
        f"3D-ResNet-18 on its last 16 frames | {causal[4]} | {float(causal[6]):.2f} times" in text
    )
    peer = rows["five 3x3x3, 64 channels, 56 x 56", "continual-inference 1.2.4"]
    assert f"continual-inference 1.2.4 | {peer[4]} | half of its state" in text
    assert peer[6] == "0.5"
    slow = "conventional r3d_18 waiting, per frame"
    each = rows[slow, "r3d_18 on its last 16 frames, every 1 frames"]
    rare = rows[slow, "r3d_18 on its last 16 frames, every 8 frames"]
    state = f"{int(each[5]) / 1e6:.1f} MB, {float(each[6]):.1f} times the frames"
    assert f"its clip of 16 frames, for every frame | {each[4]} | {state}" in text
    assert f"its clip of 16 frames, for one frame in 8 | {rare[4]} | the same" in text
    many = float(rows["D-ResNet-18 step of 32 streams", "one stream at a time"][4])
    assert f"32 streams in one batch take {many:.1f} times less time" in text


def test_conversions_of_readme_and_docs_are_those_of_the_matrix():
    with (HOME / "benchmarks/results/convert_2026-11.csv").open() as file:
        rows = Counter((row["zoo"], row["how"], row["result"]) for row in csv.DictReader(file))
    timm, families = rows["timm-meta", "ACS", "sizes"], rows["timm", "ACS", "isotropic"]
    assert f"All {timm} convolutional models of timm" in page("README.md")
    assert f"smallest of each of the {families} families" in page("README.md")
    text = page("docs/bring_your_model.md")
    assert f"all {timm} convolutional models | sizes, without memory | {timm} convert" in text
    assert f"the smallest of each of {families} families | values, both checks" in text
    assert f"| {families} isotropic |" in text


def test_readme_counts_the_formats_of_weights():
    rows = re.findall(r"^\| `([\w-]+)`", (HOME / "docs/checkpoints.md").read_text(), re.M)
    count = NAMES[len(set(rows) - {"lean3d"})]
    assert f"reads {count} published formats of weights" in page("README.md")
