"""The law is held: what breaks it is told from what does not."""

import pytest
from fuzz_law import outcome
from fuzz_verdict import Input, judge_command

LOAD = ("load", "w.pt")
PREDICT = ("predict", "scan.nii", "--run", "run", "--out", "out.nii")
HOSTILE = "from fuzz_edits import hostile\nhostile({!r})"
EVERY_SIZE = "for n in range(20): torch.zeros(2**n * 2**20)"


def code(text, **more):
    return Input("law", code=text, **more)


KINDS = {
    "result": code("convert(nn.Conv2d(1, 3, 3), ACS())"),
    "refused": code("convert(None, ACS())"),
    "traceback": code("[][0]"),
    "not one sentence": code("raise LeanError('')"),
    "half written": code("open('new', 'w').close()\nraise LeanError('no')"),
    "over time": code("while True: pass", seconds=0.5),
    "crash": code("import os\nos.abort()"),
    "code ran": code("torch.load('w.pt', weights_only=False)", setup=HOSTILE.format("w.pt")),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_way_to_end_is_told_from_the_others(kind):
    assert outcome(KINDS[kind]).kind == kind


@pytest.mark.slow
def test_memory_beyond_two_gigabytes_is_not_to_be_had():
    found = outcome(code(EVERY_SIZE))
    assert found.kind == "traceback"
    assert "memory" in found.said


@pytest.mark.parametrize(
    ("exit_code", "err", "changed", "kind"),
    [
        (0, "", ["out.nii"], "result"),
        (0, "", [".out.x.nii"], "half written"),
        (2, "lean3d: no\n", [], "refused"),
        (2, "lean3d: no\nlean3d: no\n", [], "not one sentence"),
        (2, "", [], "not one sentence"),
        (0, "rtsp:/user:secret@x\n", [], "not one sentence"),
        (2, "lean3d: no rtsp://user:secret@x\n", [], "not one sentence"),
        (2, "Traceback (most recent call last):\n", [], "traceback"),
        (2, "lean3d: no\n", ["out.nii"], "half written"),
        (1, "lean3d: no\n", [], "traceback"),
    ],
)
def test_commands_are_judged_by_exit_code_stderr_and_files(exit_code, err, changed, kind):
    assert judge_command(exit_code, "", err, changed, ("load",)).kind == kind


@pytest.mark.parametrize(
    ("argv", "path"),
    [
        (LOAD, "w.pt"),
        (("convert", "unet2d", "--how", "acs", "--weights", "w.pt"), "w.pt"),
        (PREDICT, "run/checkpoints/best.ckpt"),
        (("train", "folder", "--resume", "--out", "run"), "run/checkpoints/last.ckpt"),
    ],
)
def test_a_pickle_runs_no_code(argv, path):
    assert outcome(Input("law", argv, setup=HOSTILE.format(path))).kind == "refused"


@pytest.mark.slow
def test_a_command_that_serves_until_it_is_interrupted_ends_in_a_result():
    assert outcome(Input("law", ("view", "--raw", "scan.nii"))).kind == "result"
