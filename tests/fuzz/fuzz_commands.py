"""Command lines: a good one of each subcommand with words added, taken away and replaced."""

import dataclasses
import importlib
import types
import typing
from pathlib import Path

from fuzz_files import LIVE, NAME, SEGMENT
from fuzz_verdict import MEASURING, SECONDS, Input
from fuzz_words import FLOATS, INTS, NAMES, PATHS, SIZES, WORD
from hypothesis import strategies as st

from lean3d.cli.main import COMMANDS
from lean3d.recipes import get_recipe

SMALL = ("--widths", "2", "4")
BUDGET = ("--budget-s", "1")
GOOD = {
    "train": [
        (*SEGMENT, "--out", "made"),
        (*SEGMENT, "--out", "run", "--resume"),
        (*NAME, "--out", "made"),
    ],
    "evaluate": [
        ("evaluate", "run", "--no-surfaces", "--device", "cpu", "--out", "scored"),
        ("evaluate", "run", "--against", "run", "--no-surfaces", "--out", "missing/scored"),
    ],
    "optimize": [
        ("optimize", "unet3d", *SMALL, "--input", "1,1,8,8,8", *BUDGET, "--backends", "eager"),
        ("optimize", "unet2d", *SMALL, "--input", "1,1,8,8", "--budget-s", "0"),
    ],
    "predict": [("predict", "scan.nii", "--run", "run", "--out", "out.nii.gz")],
    "segment": [("segment", "run", "scan.nii", "--out", "seg")],
    "stream": [
        ("stream", "named", "film.mp4"),
        ("stream", "d_resnet_18", *LIVE, "film.avi", "--json"),
    ],
    "convert": [
        ("convert", "unet2d", *SMALL, "--how", "acs"),
        ("convert", "unet3d", *SMALL, "--how", "rank1"),
    ],
    "models": [("models", "ir_*"), ("models",)],
    "count": [
        ("count", "unet3d", *SMALL, "--input", "1,1,8,8,8"),
        ("count", "d_resnet_18", *LIVE[:5]),
    ],
    "export": [("export", "d_resnet_18", *LIVE, "--out", "missing/step.onnx")],
    "bench": [
        (
            "bench",
            "unet3d",
            *SMALL,
            "--against",
            "unet3d",
            "--conv",
            "acs",
            "--rounds",
            "1",
            "--input",
            "1,1,8,8,8",
        )
    ],
    "share": [("share", "run", "--license", "mit", "--out", "shared")],
    "load": [("load", "live.pt"), ("load", "flat.pt", "--format", "lean3d")],
    "demo": [("demo", "--out", "shown", "--no-such-flag")],
}
# these take a second or more, the others much less
SLOW = ("train", "evaluate", "bench", "optimize", "export", "demo")
# long work that is right to do
LONG = {"epochs", "train_samples", "val_samples", "rounds", "budget_s"}
BRIEF = ["0", "-1", "1", "x", "", "nan"]
SHOWN = (("shown/report.html", b""),)


def flags(command: str) -> dict[str, object]:
    """Name and type of each flag, from the dataclass that the command reads."""
    if command == "train":
        kinds = [type(get_recipe("folder")), type(get_recipe("videos"))]
    else:
        module = importlib.import_module(f"lean3d.cli.{command}")
        kinds = [k for k in vars(module).values() if dataclasses.is_dataclass(k)]
        kinds = [k for k in kinds if k.__module__ == module.__name__]
    found: dict[str, object] = {}
    for kind in kinds:
        found |= typing.get_type_hints(kind)
    if (network := found.pop("network", None)) is not None:
        found |= typing.get_type_hints(network)
    found.pop("push", None)  # to the Hub
    return {k: v for k, v in found.items() if typing.get_origin(v) is not typing.ClassVar}


FLAGS = {command: flags(command) for command in COMMANDS}


def values(name: str, kind: object) -> st.SearchStrategy[tuple[str, ...]]:
    """Words for a flag, odd ones of its kind most of all."""
    parts = typing.get_args(kind)
    if kind is bool:
        return st.just(())
    if name in LONG:
        return st.sampled_from(BRIEF).map(lambda word: (word,))
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return values(name, parts[0])
    if typing.get_origin(kind) is tuple:
        return st.lists(values(name, parts[0]), max_size=4).map(lambda many: sum(many, ()))
    if kind is int:
        pool = INTS
    elif kind is float:
        pool = FLOATS
    elif kind is Path:
        pool = PATHS
    elif name in ("input", "raw"):
        pool = SIZES
    else:
        pool = NAMES
    return st.one_of(st.sampled_from(pool), st.sampled_from(pool), WORD).map(lambda word: (word,))


@st.composite
def change(draw, words: tuple[str, ...], found: dict[str, object]) -> tuple[str, ...]:
    """One flag more, or one word less, more or other."""
    how = draw(st.sampled_from(["flag"] * 7 + ["drop", "add", "replace"]))
    if how == "flag":
        name = draw(st.sampled_from(sorted(found)))
        return (*words, f"--{name.replace('_', '-')}", *draw(values(name, found[name])))
    place = draw(st.integers(1, len(words)))
    before, after = words[:place], words[place:]
    if how != "add":
        # long work that is right to do, again
        if after and (
            words[place - 1].lstrip("-").replace("-", "_") in LONG or after[0][:2] == "--"
        ):
            return words
        after = after[1:]
    return (*before, *([] if how == "drop" else [draw(WORD)]), *after)


@st.composite
def command_lines(draw) -> Input:
    often = [c for c in COMMANDS if c not in SLOW] * 4
    command = draw(st.sampled_from([*often, *COMMANDS]))
    words = draw(st.sampled_from(GOOD.get(command, [(command,)])))
    found = FLAGS[command]
    if command == "demo":
        extra = draw(st.lists(WORD, max_size=3))
        return Input("command lines", (*words, *[w for w in extra if w[:1] != "-"]), files=SHOWN)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        words = draw(change(words, found))
    measures = {"--optimize", "--optimized"} & set(words)
    return Input("command lines", words, seconds=MEASURING if measures else SECONDS)


@st.composite
def loose_words(draw) -> Input:
    """Words that are hardly a command line."""
    name = draw(st.one_of(st.sampled_from(sorted(set(COMMANDS) - {"demo"})), WORD))
    return Input("command lines", (name, *draw(st.lists(WORD, max_size=4))))
