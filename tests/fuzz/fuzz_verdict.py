"""An input of the fuzz tests, what became of it, and the law that says what may."""

import re
from dataclasses import dataclass, field

LONGEST = 400  # characters of a sentence
SECONDS = 10  # of one core
MEASURING = 70  # where the ways to compute are timed, for a minute (budget_s of optimize)
SPARE = 2 << 30  # bytes beyond what the imported libraries take
NOTICE = "lean3d: the weights are random"  # may come before the sentence
SERVES = 8  # seconds until a command that serves until Ctrl-C is given one
WALL = 120  # seconds until an input that computes nothing counts as hung

FINE = ("result", "refused", "unforeseen")
UNFORESEEN = "did not foresee this"  # how a sentence ends that the last line of defence wrote
BROKEN = (
    "traceback",
    "not one sentence",
    "half written",
    "over time",
    "crash",
    "code ran",
    "wrong",
)
SECRET = "secret"  # the password in the addresses that are drawn
SOME = re.compile(r"\d+ of \d+ scans have no (mask|class)")  # the others have one
KEPT = (".lean3d-frames.jsonl",)  # the index of a folder of videos, which is made on reading
RAN = "ran"  # the file that code hidden in an input makes


@dataclass(frozen=True)
class Input:
    """A command line, or Python code, and the files they meet.

    Attributes:
        surface: What is attacked; the figures are kept by it.
        argv: Of `lean3d`, or None for `code`.
        code: Python with lean3d, torch, nn and np at hand.
        setup: Python that prepares files or names; it is no part of what is judged.
        files: Contents of more files, by name.
        stdin: What the command reads.
        torch: Python that says what torch itself does here; the same exception may be raised.
        seconds: Of one core, that it may take.
    """

    surface: str
    argv: tuple[str, ...] | None = None
    code: str = ""
    setup: str = ""
    files: tuple[tuple[str, bytes], ...] = ()
    stdin: bytes = b""
    torch: str = ""
    seconds: float = SECONDS

    def __str__(self) -> str:
        files = "".join(f"\n  file {name!r}: {content!r}" for name, content in self.files)
        setup = f"\n  setup {self.setup!r}" if self.setup else ""
        what = f"lean3d {list(self.argv)!r}" if self.argv is not None else f"code {self.code!r}"
        return f"{self.surface}: {what}{setup}{files}" + (
            (self.stdin and f"\n  {self.stdin!r}") or ""
        )


@dataclass
class Outcome:
    """What became of an input.

    Attributes:
        kind: One of FINE or BROKEN.
        said: The sentence, or what went wrong.
        where: Line of lean3d that an exception came from.
        changed: Files that were made, changed or removed.
        seconds: Of one core.
    """

    kind: str
    said: str = ""
    where: str = ""
    changed: list[str] = field(default_factory=list)
    seconds: float = 0.0


def judge_command(
    code: int, out: str, err: str, changed: list[str], argv: tuple[str, ...]
) -> Outcome:
    """By its exit code, what it wrote, and the files it changed."""
    if RAN in changed:
        return Outcome("code ran", "code in a file ran", changed=changed)
    names = [(name, name.rpartition("/")[2]) for name in changed]
    left = [name for name, last in names if last.startswith(".") and last not in KEPT]
    changed = [name for name, last in names if last not in KEPT]
    lines = [line for line in err.splitlines() if line.strip()]
    if code == 0 and SECRET in out + err:
        return Outcome("not one sentence", "it shows a password", changed=changed)
    if code == 0:
        kind = "half written" if left else "result"
        return Outcome(kind, f"left behind {left}" if left else "", changed=changed)
    told = [line for line in lines if not line.startswith(NOTICE)]
    if argv[:1] == ("stream",):
        # its table and screen may stand there too, and every source has its own sentence
        told = [line for line in told if line.startswith("lean3d: ")]
    most = len(argv) if argv[:1] == ("stream",) else 1
    said = told[-1] if told else ""
    if code != 2 or "Traceback" in err:
        return Outcome("traceback", f"exit {code}: {said}", changed=changed)
    odd = [t for t in told if len(t) > LONGEST or SECRET in t or not t.startswith("lean3d: ")]
    if odd or not 1 <= len(told) <= most:
        shown = odd[0] if odd else " / ".join(told)
        what = f"{len(told)} lines, {len(shown)} characters: {shown}"
        return Outcome("not one sentence", what, changed=changed)
    # what came of a stream before its source broke, and of a folder's other scans, is a result
    partly = argv[:1] == ("stream",) and '"sources"' in out
    partly = partly or (argv[:1] == ("predict",) and SOME.search(said) is not None)
    if changed and (left or not partly):
        return Outcome("half written", f"{said}; changed {changed}", changed=changed)
    return Outcome("unforeseen" if UNFORESEEN in said else "refused", said, changed=changed)


def judge_call(
    error: BaseException | None, ours: bool, as_torch: bool, changed: list[str]
) -> Outcome:
    """By what a call raised."""
    if RAN in changed:
        return Outcome("code ran", "code in a file ran", changed=changed)
    if error is None:
        return Outcome("result", changed=changed)
    said = " ".join(str(error).split())
    if not ours:
        kind = "refused" if as_torch else "traceback"
        return Outcome(kind, f"{type(error).__name__}: {said}", changed=changed)
    if not said or len(said) > LONGEST or f":{SECRET}@" in said:
        return Outcome("not one sentence", f"{len(said)} characters: {said}", changed=changed)
    return Outcome("half written" if changed else "refused", said, changed=changed)
