"""Recipes and weights of any content are used, or refused in one sentence."""

from fuzz_files import LIVE, NAME, SEGMENT
from fuzz_law import fuzz, hold
from fuzz_verdict import Input
from fuzz_words import lines, words
from hypothesis import strategies as st
from test_fuzz_files import DAMAGE

LONGER = (*SEGMENT[:-4], "--epochs", "2", "--accelerator", "cpu")
RUNS = {
    "run": [
        ("predict", "scan.nii", "--run", "run", "--out", "out.nii"),
        (*LONGER, "--resume", "--out", "run"),
        (*SEGMENT, "--resume", "--out", "run"),
    ],
    "named": [
        ("stream", "named", "film.mp4"),
        ("stream", "named", "film.mp4", "--json"),
        (*NAME, "--resume", "--out", "named"),
    ],
}
PLAIN = words("""
None 0 -1 1 2 5 1.5 1e300 float('nan') 10**6 10**12 2**63 10**30 '' 'x' '1' 'x'*500 True [] [1]
[1,2,3] [[]] {} {'a':1} [10**6,10**6] ['a','a']
""")
HELD = [*PLAIN, "torch.zeros(3)", "torch.zeros(())", "torch.zeros(0)", "b'x'"]
# from a tensor `t` that stands there
TENSORS = lines("""
t.to_sparse()
t.to('meta')
t.half()
t.double()
t.long()
t > 0
t + 1j
t * float('nan')
t.unsqueeze(0)
t[:0]
t.tolist()
torch.zeros(()).expand(10**10)
torch.zeros(()).expand(2**62, 4)
t.new_full(t.shape, float('inf'))
torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8)
t.to(torch.bfloat16)
nn.Parameter(t.float())
""")
HOW = st.sampled_from(["set", "set", "set", "set", "drop", "rename", "whole", "wrap"])
WHICH = st.integers(0, 200)
# a tensor made from the one that stands there; others stay as they are
CHANGED = st.sampled_from(TENSORS).map(
    lambda new: f"(lambda t: {new} if isinstance(t, torch.Tensor) else t)"
)
NEW = st.one_of(st.sampled_from(HELD), CHANGED)
START = "from fuzz_edits import *\n"


RAW = ["[" * 100000, "{", "null", "[]", '{"recipe": 1}', '{"recipe": {}}', "\ufeff{}", "NaN"]
RAW += ["1" * 5000]
VALUE = st.tuples(WHICH, HOW, st.sampled_from(PLAIN))
CHANGES = st.one_of(
    VALUE.map(lambda e: f"edit_json(F, {e[0]}, {e[1]!r}, {e[2]})"),
    VALUE.map(lambda e: f"edit_json(F, {e[0]}, {e[1]!r}, {e[2]})"),
    st.sampled_from(RAW).map(lambda text: f"Path(F).write_text({text!r})"),
    DAMAGE,
)


@st.composite
def recipes(draw) -> Input:
    """recipe.json with other values, or damaged, in what reads a run."""
    run = draw(st.sampled_from(sorted(RUNS)))
    setup = f"{START}F = '{run}/recipe.json'\n{draw(CHANGES)}"
    return Input("recipes", draw(st.sampled_from(RUNS[run])), setup=setup)


WHOLE = ["{}", "[{}]", "{{None: {}}}", "{{1: {}}}", "dict.fromkeys('abcdef', {})"]
FORMATS = [(), *[("--format", name) for name in ("lean3d", "torchvision", "mmaction2")]]
KINDS = ["edit", "edit", "edit", "damage", "safetensors", "whole", "hostile"]


@st.composite
def made_weights(draw, kind: str, source: str) -> str:
    """Python that writes a file F of weights of one kind."""
    if kind == "edit":
        return f"edit_torch({source!r}, {draw(WHICH)}, {draw(HOW)!r}, {draw(NEW)}, F)"
    if kind == "damage":
        return f"shutil.copy({source!r}, F)\n{draw(DAMAGE)}"
    if kind == "safetensors":
        which, how, new = draw(VALUE)
        damage = draw(st.one_of(st.just(""), DAMAGE))
        return f"edit_safetensors({source!r}, F, {which}, {how!r}, {new})\n{damage}"
    if kind == "whole":
        content = draw(st.sampled_from(WHOLE)).format(draw(st.sampled_from(HELD)))
        return f"torch.save({content}, F)"
    return "hostile(F)"


@st.composite
def weights(draw) -> Input:
    """Files of weights: other values and names, otherwise wrapped, damaged, hostile."""
    flat, kind = draw(st.booleans()), draw(st.sampled_from(KINDS))
    name = "w.safetensors" if kind == "safetensors" else "w.pt"
    made = draw(made_weights(kind, "flat.pt" if flat else "live.pt"))
    setup = f"{START}F = {name!r}\n{made}"
    form = draw(st.sampled_from(FORMATS))
    way = draw(st.sampled_from(["load", "load and write", "build", "call"]))
    if way == "call":
        net = "'unet2d', widths=(2, 4)" if flat else "'d_resnet_18', widths=(2, 2, 4, 4)"
        more = f", format={form[1]!r}" if form else ""
        code = f"load_checkpoint(create_model({net}), F{more})"
        return Input("weights", code=code, setup=setup)
    if way != "build":
        out = ("--out", "out.pt") if way == "load and write" else ()
        return Input("weights", ("load", name, *form, *out), setup=setup)
    argv = ("convert", "unet2d", "--widths", "2", "4", "--how", "acs")
    if not flat:
        argv = ("stream", "d_resnet_18", *LIVE, "film.mp4", "--limit", "3")
    return Input("weights", (*argv, "--weights", name, *form), setup=setup)


@fuzz(0.07, recipes())
def test_recipes_of_any_content_are_run_or_refused_in_one_sentence(asked):
    hold(asked)


@fuzz(0.11, weights())
def test_weights_of_any_content_are_loaded_or_refused_in_one_sentence(asked):
    hold(asked)
