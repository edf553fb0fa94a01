import contextlib
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from typing import Literal

import pytest
from cli_cases import FLAGS

import lean3d as package
from lean3d.cli.main import COMMANDS
from lean3d.cli.main import main as entry
from lean3d.cli.parse import flags, parse


def test_help_names_every_command(lean3d):
    code, out, _ = lean3d("--help")
    assert code == 0
    assert all(name in out for name in COMMANDS)
    assert max(map(len, out.splitlines())) <= 80
    assert lean3d()[1] == out


def test_version(lean3d):
    assert lean3d("--version")[:2] == (0, f"lean3d {package.__version__}\n")


@pytest.mark.parametrize("command", sorted(COMMANDS))
@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["", "x"], "argument 1 is empty ('')"),
        (["x", " "], "argument 2 is empty (' ')"),
        (["--out", ""], "--out is empty ('')"),
        (["x", "--out="], "--out is empty"),
    ],
)
def test_an_empty_argument_is_no_folder(refused, tmp_path, monkeypatch, command, words, what):
    monkeypatch.chdir(tmp_path)
    assert f"{command}: {what}; give " in refused(command, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_help_and_version_do_not_wait_for_torch(flag):
    code = "import sys, runpy; sys.argv[1:] = [sys.argv[1]]\n"
    code += "try: runpy.run_module('lean3d', run_name='__main__')\n"
    code += "except SystemExit as end: sys.exit(end.code or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, flag], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "lean3d" in done.stdout


@pytest.mark.parametrize("asked", [[], ["--json"]])
def test_the_line_of_json_is_for_programs_or_those_who_ask(lean3d, monkeypatch, asked):
    words = *asked, "models", "unet*"
    assert lean3d(*words)[1].splitlines()[-1].startswith('[{"name":')
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert lean3d(*words)[1].splitlines()[-1].startswith("[{") == bool(asked)


@pytest.mark.parametrize(
    "words",
    [
        ["models"],
        ["count", "r2plus1d_18", "--input", "1,3,8,32,32"],
        ["convert", "unet2d", "--how", "acs"],
    ],
)
@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_the_terminal(lean3d, monkeypatch, words, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = lean3d(*words)
    assert code == 0
    assert max(map(len, out.splitlines()[:-1])) <= columns


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_shell_completes_commands_flags_recipes_and_models(lean3d, tmp_path):
    (tmp_path / "script").write_text(lean3d("--completion")[1])

    def completed(*words):
        places = " ".join(map(shlex.quote, words))
        code = f"source {tmp_path / 'script'}; COMP_WORDS=({places}); COMP_CWORD={len(words) - 1}"
        code += '; _lean3d; echo "${COMPREPLY[@]}"'
        return subprocess.check_output(["bash", "-c", code], text=True).split()

    assert completed("lean3d", "co") == ["convert", "count"]
    assert sorted(completed("lean3d", "train", "brain")) == ["brain2d", "brain3d", "brain_acs"]
    assert completed("lean3d", "train", "brain3d", "--weight-") == ["--weight-decay"]
    assert completed("lean3d", "count", "unet2") == ["unet2d"]
    assert completed("lean3d", "count", "unet3d", "--sta") == ["--stages"]
    assert completed("lean3d", "load", "scan") == []


def test_an_unknown_command_suggests_the_nearest(refused):
    assert "did you mean predict?" in refused("perdict")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(lean3d, name):
    code, out, _ = lean3d(name, "--help")
    assert code == 0
    assert f"lean3d {name}" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_is_one_sentence(refused, name):
    models = dict(convert=["unet2d"], count=["unet3d"], bench=["unet3d"], load=["file"])
    models |= dict(export=["unet3d"], stream=["unet3d"], evaluate=["run"], optimize=["unet3d"])
    models |= dict(share=["run"], lighten=["run"])
    more = {"train": ["brain3d"], "probe": ["medmnist"], **models}.get(name, [])
    sentence = refused(name, *more, "--no-such-flag", "1")
    said = "no-such-flag", "required: --", "needs a value"
    assert any(words in sentence for words in said)
    assert f"see lean3d {name}" in sentence


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["train", "brain3d", "--epoch", 3], "--epoch, 3; did you mean --epochs?"),
        (["train", "brain3d", "--epochs", "x"], "--epochs: invalid literal"),
        (["train", "em_sections", "--sectons"], "--sectons; did you mean --sections?"),
        (["train", "em_sections", "--no-sectons"], "did you mean --no-sections?"),
        (["train", "em_sections", "--sections", 1], "unrecognized options: 1"),
        (["predict"], "required: --out PATH; see lean3d predict --help"),
        (["demo", "--task", "brian"], "--task is one of brain, shapes, got 'brian'"),
    ],
)
def test_flags_that_cannot_be_read_are_one_sentence(refused, flags, sentence):
    assert sentence in refused(*flags)


def test_a_terminal_sees_no_box_either(monkeypatch, refused):
    monkeypatch.setattr("tyro._fmtlib._FORCE_ANSI", True)
    monkeypatch.setattr("tyro._fmtlib._FORCE_UTF8_BOXES", True)
    assert refused("count").isascii()
    assert "\x1b" not in refused("train", "brain3d", "--epoch", 3)


@dataclass
class Switches:
    on: bool = True
    off: bool = False


def test_what_is_true_or_false_is_said_either_way():
    assert parse(Switches, "train", []) == Switches(True, False)
    assert parse(Switches, "train", ["--on", "--no-off"]) == Switches(True, False)
    assert parse(Switches, "train", ["--no-on", "--off"]) == Switches(False, True)
    changed = Switches(False, True)  # as a recipe whose values are the defaults
    assert parse(Switches, "train", [], changed) == changed
    assert parse(Switches, "train", ["--on", "--no-off"], changed) == Switches(True, False)
    assert flags(Switches) == ["--on", "--no-on", "--off", "--no-off"]


@dataclass
class Optional:
    weights: str | None = "pretrained"
    depth: Literal["none", "all"] | None = "all"
    name: str = ""


def test_none_is_written_either_way():
    assert parse(Optional, "train", ["--weights", "none"]).weights is None
    assert parse(Optional, "train", ["--weights", "None"]).weights is None
    words = ["--depth", "none", "--name", "none"]
    assert parse(Optional, "train", words, Optional("a")) == Optional("a", "none", "none")


def test_another_parser_is_quoted_without_its_frame(refused, monkeypatch):
    monkeypatch.setattr("lean3d.cli.parse._events", lambda *_: contextlib.nullcontext())
    sentence = refused("predict", "--run")
    assert "Missing value for argument '--run'" in sentence
    assert sentence.isascii()
    assert "---" not in sentence


def test_a_disk_that_fails_outside_our_own_writing_is_one_sentence(refused, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device", "some/file")

    monkeypatch.setattr("lean3d.cli.train.get_recipe", fail)
    assert refused("train", "brain3d") == "lean3d: some/file: No space left on device\n"


def test_what_libraries_say_to_programmers_is_not_shown(lean3d, monkeypatch):
    log = logging.getLogger("nibabel.global")

    def speak():
        warnings.warn("old", UserWarning, stacklevel=1)
        handler = logging.StreamHandler()
        log.addHandler(handler)
        log.warning("sizeof_hdr should be 348")
        log.removeHandler(handler)
        return {"folder": "your own data"}

    monkeypatch.setattr("lean3d.cli.train.list_recipes", speak)
    code, _, err = lean3d("train", "--help")
    assert (code, err) == (0, "")
    assert not log.disabled


def test_ctrl_c_exits_with_130(lean3d, monkeypatch):
    def press(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("lean3d.cli.train.get_recipe", press)
    code, _, err = lean3d("train", "brain3d")
    assert (code, err) == (130, "lean3d: interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_one_sentence_and_its_exit_code(lean3d, monkeypatch, number):
    monkeypatch.setattr("lean3d.cli.train.get_recipe", lambda _: os.kill(os.getpid(), number))
    code, out, err = lean3d("train", "brain3d")
    assert (code, out) == (128 + number, "")
    assert err == f"lean3d: stopped by {number.name}; run the command again\n"


def test_help_does_not_wait_for_the_trainer():
    heavy = "lightning", "monai", "tyro", "nilearn", "matplotlib"
    code = (
        "import sys; from lean3d.cli.main import main; main(['--help']); "
        f"sys.exit(any(name in sys.modules for name in {heavy}))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_the_installed_command_is_this_one():
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="lean3d")
    assert script.load() is entry


LATE = """
import sys
from lean3d.cli.main import main

class Told:
    encoding = "utf-8"
    isatty = staticmethod(lambda: True)
    flush = staticmethod(lambda: None)
    said = []
    def write(self, text):
        self.said.append((text, "lightning" in sys.modules))

sys.stderr, whole = Told(), sys.stdout
sys.stdout = sys.stderr
code = main(sys.argv[1:])
sys.stdout = whole
said = [(text.strip(), late) for text, late in Told.said if text.strip()]
print(code, said[0][1], said[0][0])
"""


@pytest.mark.slow
def test_what_was_found_is_said_before_lightning_is_imported(lean3d, cases, tmp_path, monkeypatch):
    """It takes seconds to import; what is imported is held here, and not the time."""
    run = tmp_path / "run"
    train = ["train", "folder", "--data", cases, "--patch", 8, 8, 8, *FLAGS, "--out"]
    commands = {
        "cases in": [*train, run],
        "voxels of": ["predict", cases / "images/case0.nii.gz", "--run", run, "--out", "m.nii.gz"],
        "case(s) of": ["evaluate", run],
    }
    monkeypatch.chdir(tmp_path)
    for words, given in commands.items():
        done = subprocess.run(
            [sys.executable, "-c", LATE, *map(str, given)], capture_output=True, text=True
        )
        code, late, line = re.search(r"^(\d) (True|False) (.*)", done.stdout, re.M).groups()
        assert (code, late) == ("0", "False"), done.stdout + done.stderr
        assert words in line
