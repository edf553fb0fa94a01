"""Run folders of any content are used, or refused in one sentence before anything is written."""

from fuzz_law import fuzz, hold
from fuzz_verdict import Input
from hypothesis import strategies as st
from test_fuzz_files import DAMAGE
from test_fuzz_runs import HOW, NEW, RUNS, START, WHICH

OTHERS = ["metrics.json", "metrics.csv", "checkpoints", "tensorboard", "recipe.json"]
PLACES = [*["checkpoints/best.ckpt", "checkpoints/last.ckpt"] * 4, *OTHERS]
BECOME = st.sampled_from(["missing", "folder", "loop", "empty", "notes.txt"])


@st.composite
def run_folders(draw) -> Input:
    """A run whose checkpoints or metrics are others, damaged or gone."""
    run = draw(st.sampled_from(sorted(RUNS)))
    place = f"{run}/{draw(st.sampled_from(PLACES))}"
    if place.endswith(".ckpt") and draw(st.booleans()):
        change = f"edit_torch(F, {draw(WHICH)}, {draw(HOW)!r}, {draw(NEW)})"
    elif place.endswith((".ckpt", ".json", ".csv")):
        change = draw(DAMAGE)
    else:
        change = f"become(F, {draw(BECOME)!r})"
    setup = f"{START}F = {place!r}\n{change}"
    return Input("run folders", draw(st.sampled_from(RUNS[run])), setup=setup)


@fuzz(0.07, run_folders())
def test_run_folders_of_any_content_are_used_or_refused_in_one_sentence(asked):
    hold(asked)
