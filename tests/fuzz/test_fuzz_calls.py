"""Functions, operators and streams take what they are given, or say in one sentence why not."""

import inspect

from fuzz_law import fuzz, hold
from fuzz_verdict import Input
from fuzz_words import ANY, HOWS, MODULES, TENSORS, VALUES, lines, mostly, words
from hypothesis import strategies as st

import lean3d

# what fits the parameters of public functions, by name
FITTING = {
    "model": MODULES[5:],
    "how": HOWS,
    "input_shape": ["(1, 1, 8, 8)", "(1, 3, 16, 16)", "(1, 1, 8, 8, 8)", "(1, 3, 4, 8, 8)"],
    "example": TENSORS[3:7],
    "path": ["'flat.pt'", "'live.pt'", "'missing'"],
    "conv3d": ["nn.Conv3d(4, 6, 3)", "nn.Conv3d(4, 4, 3, groups=2)", "nn.Conv3d(2, 2, 3, 2)"],
    "name": ["'unet2d'", "'unet3d'", "'d_resnet_18'", "'kth_stdcf'", "'no_such_model'"],
    "pattern": ["'*'", "'unet*'", "'['"],
    "where": ["(lambda path, m: True)", "(lambda path, m: False)", "None"],
    "budget": ["0.5", "10**6", "None"],
    "accept": ["'isotropic'", "'planar'", "None"],
    "in_channels": ["1", "3", "None"],
    "num_classes": ["2", "5", "None"],
    "profile": ["'macs'", "'csn'", "'thop'"],
    "frame": ["(3, 16, 16)", "None"],
    "window": ["4", "None"],
    "format": ["'lean3d'", "None"],
}
FITTING |= {name: ["True", "False"] for name in ("training", "wait", "check", "new_head", "lossy")}
FITTING |= {name: ["1", "2"] for name in ("spatial", "temporal", "streams")}
FITTING |= {name: ["0", "1", "3", "None"] for name in ("axis", "depth", "keep_depth")}
RESULTS = ("Conversion", "Cost", "Loaded", "Stream")
CALLED = [
    n
    for n in lean3d.__all__
    if callable(getattr(lean3d, n)) and not n.endswith("Error") and n not in RESULTS
]
KEYWORDS = ["(2, 4)", "(2, 2, 4, 4)", "3", "None", "ops.ACSConv3d"]
PARAMETERS = {name: inspect.signature(getattr(lean3d, name)).parameters.values() for name in CALLED}


@st.composite
def calls(draw) -> Input:
    """A public function with every argument it needs, some it does not, and some of them odd."""
    name = draw(st.sampled_from(CALLED))
    given = []
    for parameter in PARAMETERS[name]:
        if parameter.kind is parameter.VAR_KEYWORD:
            more = st.sampled_from(["widths", "num_classes", "in_channels", "conv", "no_such"])
            for key in draw(st.lists(more, max_size=2, unique=True)):
                given.append(f"{key}={draw(mostly(KEYWORDS))}")
        elif parameter.default is parameter.empty or draw(st.integers(0, 3)) == 0:
            given.append(f"{parameter.name}={draw(mostly(FITTING.get(parameter.name, VALUES)))}")
    return Input("public functions", code=f"{name}({', '.join(given)})")


OPERATORS = [name for name in lean3d.ops.__all__ if name.endswith("Conv3d")]
CONV = {
    "in_channels": ["3", "4"],
    "out_channels": ["4", "6"],
    "kernel_size": ["3", "(3, 3, 3)", "(1, 3, 3)", "(3, 1, 1)", "1"],
    "stride": ["1", "2", "(1, 2, 2)"],
    "padding": ["0", "1", "'same'", "'valid'", "(0, 1, 1)"],
    "dilation": ["1", "2"],
    "groups": ["1"],
    "bias": ["True", "False"],
    "padding_mode": ["'zeros'", "'reflect'", "'replicate'", "'circular'"],
    "device": ["None", "'cpu'", "'meta'"],
    "dtype": ["None", "torch.float32", "torch.float64"],
}
NEEDED = ("in_channels", "out_channels", "kernel_size")
GIVEN = lines("""
torch.randn(2, 3, 5, 7, 6)
torch.randn(1, 4, 6, 6, 6)
torch.randn(1, 3, 4, 8, 8)
""")


@st.composite
def operators(draw) -> Input:
    """An operator with odd arguments, given an odd tensor; nn.Conv3d may raise the same."""
    name = draw(st.sampled_from(OPERATORS))
    said = []
    for key, good in CONV.items():
        if key in NEEDED or draw(st.integers(0, 4)) == 0:
            said.append(f"{key}={draw(mostly(good, st.sampled_from(VALUES)))}")
    own = inspect.signature(getattr(lean3d.ops, name)).parameters
    extras = [key for key, p in own.items() if key not in CONV and p.kind is p.KEYWORD_ONLY]
    extra = draw(st.lists(st.sampled_from(extras), max_size=1)) if extras else []
    extra = [f"{key}={draw(st.sampled_from(VALUES))}" for key in extra]
    x = draw(mostly(GIVEN, st.sampled_from(TENSORS + VALUES)))
    return Input(
        "operators",
        code=f"{name}({', '.join([*said, *extra])})({x})",
        torch=f"nn.Conv3d({', '.join(said)})({x})",
    )


CAUSAL = """nn.Sequential(
    CausalConv3d(3, 4, 3, padding="same"), nn.BatchNorm3d(4), CausalConv3d(4, 2, 3, padding="same")
).eval()"""
AHEAD = """nn.Sequential(
    nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 3, padding=1)
).eval(), wait=True"""
LIVE = """
from fuzz_edits import edit
torch.manual_seed(0)
live = stream(NET, frame=(3, 8, 8))
x = torch.randn(2, 3, 1, 8, 8)
_, state = live.step(x, live.init(2, height=8, width=8))
"""
# from a tensor `v` of the state
SLOTS = words("""
None 1 'x' torch.zeros(2) torch.zeros(()) torch.zeros(2,dtype=torch.int64) v[:1] v[:,:1]
v.double() v+float('nan') v.long() v.to_sparse() v+1j v.to('meta') -v-1 v.expand(3,*v.shape)
v+2**40
""")
FRAMES = words("x x[:,:,0] x[:1] x[...,:5] x.long() x*float('inf') x[:,:2] x.numpy()")
FRAMES += TENSORS
WHICH = words("""
[0] [1] [0,1] [2] [-1] [1.9] [True] ['a'] torch.tensor([True,False]) torch.tensor([1.0])
torch.tensor([[0]]) torch.tensor([],dtype=torch.int64)
""")
WHICH += VALUES
STEP = ["x", "x[:, :, 0]", "torch.cat([x, x], 2)"]
SIZES = ("batch_size", "height", "width", "channels")
WAYS = ["step", "step", "step", "reset", "stack", "unbind", "end", "init", "run", "state_bytes"]


@st.composite
def states(draw) -> str:
    """A state, or one changed in one place, or none at all."""
    kind = draw(st.sampled_from(["whole", "changed", "changed", "changed", "odd"]))
    if kind == "changed":
        how = draw(st.sampled_from(["set", "set", "drop", "rename"]))
        new = draw(st.sampled_from(SLOTS))
        return f"edit(dict(state), {draw(st.integers(0, 9))}, {how!r}, lambda v: {new})"
    return draw(ANY) if kind == "odd" else "state"


@st.composite
def streams(draw) -> Input:
    """A stream whose states, frames or numbers of streams are odd."""
    setup = "from lean3d.ops import CausalConv3d" + LIVE.replace(
        "NET", draw(st.sampled_from([CAUSAL, AHEAD]))
    )
    way = draw(st.sampled_from(WAYS))
    setup += f"\nodd = {draw(states())}"
    if way == "step":
        code = f"live.step({draw(mostly(STEP, st.sampled_from(FRAMES)))}, odd)"
    elif way in ("reset", "end"):
        after = f", after={draw(mostly(['0', '3'], ANY))}" if way == "end" else ""
        code = f"live.step(x, live.{way}(odd, {draw(st.sampled_from(WHICH))}{after}))"
    elif way == "stack":
        other = draw(st.sampled_from(["state", "live.init(2)", "None", "odd"]))
        code = f"live.step(torch.cat([x, x]), live.stack([odd, {other}]))"
    elif way == "unbind":
        code = "live.unbind(odd)"
    elif way == "run":
        code = f"live.run({draw(st.sampled_from(FRAMES))})"
    else:
        given = {"height": "8", "width": "8"} if way == "state_bytes" else {}
        for key in draw(st.lists(st.sampled_from(SIZES), unique=True)):
            given[key] = draw(mostly(["8", "3", "1"], st.sampled_from(VALUES)))
        code = f"live.{way}({', '.join(f'{k}={v}' for k, v in given.items())})"
    return Input("streams", code=code, setup=setup)


@fuzz(0.09, calls())
def test_public_functions_answer_or_refuse_in_one_sentence(asked):
    hold(asked)


@fuzz(0.12, operators())
def test_operators_answer_or_refuse_as_conv3d_does_or_in_one_sentence(asked):
    hold(asked)


@fuzz(0.08, streams())
def test_streams_answer_or_refuse_in_one_sentence(asked):
    hold(asked)
