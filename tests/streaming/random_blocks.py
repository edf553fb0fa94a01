"""A block for every function that `stream(wait=True)` knows: (B, C, T, H, W) in and out.

A function without a block cannot be drawn, and a test says so.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lean3d.ops import ACSConv3d, fast
from lean3d.streaming.framewise_ops import CONDITIONS, JOINS, SAME_FRAMES
from lean3d.streaming.rules import CALLS

CHANNELS = 4


class Block(nn.Module):
    """Runs a function on a map, and the layers it is given."""

    def __init__(self, run, **layers):
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.run(self, x)


def same(run, **layers):
    """A block that keeps the number of frames."""
    return lambda draw: (Block(run, **{k: make(draw) for k, make in layers.items()}), 1)


def conv(draw, channels=CHANNELS, **more):
    """A convolution over time that keeps its frames."""
    kernel = draw.choice([1, 3, 5])
    return nn.Conv3d(CHANNELS, channels, (kernel, 3, 3), padding=(kernel // 2, 1, 1), **more)


def positive(x):
    return x.abs() + 0.5


# by name: the same function may be one of torch, of tensors and of torch.nn.functional
ARGUMENTS = {
    "hardtanh": (-1.0, 1.0),
    "threshold": (0.1, 0.0),
    "_threshold": (0.1, 0.0),  # F.threshold
    "clamp": (-1.0, 1.0),
    "clip": (-1.0, 1.0),
    "clamp_": (-1.0, 1.0),
    "clamp_min": (-0.5,),
    "clamp_max": (0.5,),
    "to": (torch.float32,),
    "pow": (2,),
    "__pow__": (2,),
}
COARSE = {"half", "bfloat16", "float", "to"}
POSITIVE = {"sqrt", "rsqrt", "log", "log1p", "reciprocal"}
# of True and False, or what makes them
_OF_MASKS = "bitwise_not __invert__ __and__ bitwise_and __or__ bitwise_or"
OF_MASKS = {*_OF_MASKS.split(), "logical_and", "logical_or", "logical_not"}
MASKS = {*OF_MASKS, "isfinite", "isinf", "isnan", "eq", "ne", "ge", "gt", "le", "lt"}


def pointwise(function):
    name = function.__name__
    arguments = ARGUMENTS.get(name, ())

    def run(block, x):
        # a copy, which functions in place may change
        given = positive(x) if name in POSITIVE else x + 0
        if function is Tensor.type_as:
            return function(given, x)
        y = function(given > 0 if name in OF_MASKS else given, *arguments)
        return x + y.to(x.dtype) if name in COARSE | MASKS else y

    return same(run)


def join(function):
    def run(block, x):
        early, late = block.one(x), block.two(x)
        if function in (torch.addcmul, Tensor.addcmul):
            return function(early, late, x)
        if function in (torch.lerp, Tensor.lerp):
            return function(early, late, 0.3)
        name = function.__name__
        if "div" in name:
            late = positive(late)
        if name in MASKS:
            pair = (early > 0, late > 0) if name in OF_MASKS else (early, late)
            return x + function(*pair).to(x.dtype)
        if name == "where":
            first = (early > 0, late) if function is torch.where else (early, late > 0)
            return function(*first, x)
        if "masked_fill" in name:
            return function(late, early > 0, 0.5)
        # in place on the later of the two: what is early is held back, and so another tensor
        in_place = name.endswith("_") and not name.startswith("__")
        return function(late, early) if in_place else function(early, late)

    return same(run, one=lambda draw: nn.Conv3d(CHANNELS, CHANNELS, 1), two=conv)


def transposed_axes(function, *arguments):
    """There and back."""

    def run(block, x):
        return function(F.relu(function(x, *arguments)), *arguments)

    return same(run)


def linear_last(b, x):
    weight = torch.eye(CHANNELS, dtype=x.dtype) * 2
    return F.linear(x.movedim(1, -1), weight, weight[0]).movedim(-1, 1)


CONDITIONAL = {
    F.batch_norm: same(lambda b, x: b.norm(x), norm=lambda draw: nn.BatchNorm3d(CHANNELS)),
    F.dropout: same(lambda b, x: F.dropout(x, 0.5, False)),
    F.dropout2d: same(lambda b, x: F.dropout2d(x.flatten(3), 0.5, False).reshape_as(x) * 1.0),
    F.dropout3d: same(lambda b, x: F.dropout3d(x, 0.5, False)),
    F.alpha_dropout: same(lambda b, x: F.alpha_dropout(x, 0.5, False)),
    F.feature_alpha_dropout: same(lambda b, x: F.feature_alpha_dropout(x, 0.5, False)),
    F.layer_norm: same(lambda b, x: F.layer_norm(x, x.shape[-2:])),
    F.linear: same(linear_last),
    F.prelu: same(lambda b, x: F.prelu(x, torch.tensor([0.2], dtype=x.dtype))),
    torch.prelu: same(lambda b, x: torch.prelu(x, torch.full((CHANNELS,), 0.2, dtype=x.dtype))),
    F.channel_shuffle: same(lambda b, x: F.channel_shuffle(x, 2)),
    torch.channel_shuffle: same(lambda b, x: torch.channel_shuffle(x, 2)),
    torch.native_channel_shuffle: same(lambda b, x: torch.native_channel_shuffle(x, 2)),
    F.pixel_shuffle: same(
        lambda b, x: F.pixel_unshuffle(
            F.pixel_shuffle(torch.cat([x] * 4, 1).transpose(1, 2), 2), 2
        ).transpose(1, 2)[:, :CHANNELS]
    ),
    F.softmax: same(lambda b, x: F.softmax(x, dim=1)),
    torch.softmax: same(lambda b, x: torch.softmax(x, 1)),
    Tensor.softmax: same(lambda b, x: x.softmax(-1)),
    F.log_softmax: same(lambda b, x: F.log_softmax(x, dim=1)),
    torch.log_softmax: same(lambda b, x: torch.log_softmax(x, 1)),
    Tensor.log_softmax: same(lambda b, x: x.log_softmax(1)),
    F.normalize: same(lambda b, x: F.normalize(x)),
    F.glu: same(lambda b, x: F.glu(torch.cat([x, x], 1), 1)),
}
CONDITIONAL[F.pixel_unshuffle] = CONDITIONAL[F.pixel_shuffle]


def conv3d(draw):
    stride, kernel = draw.choice([1, 1, 1, 2, 3]), draw.choice([1, 2, 3, 4, 5])
    dilation = draw.choice([1, 1, 2])
    pad = draw.randrange(0, dilation * (kernel - 1) + 1)
    mode = draw.choice(["zeros", "zeros", "replicate"])
    if stride == 1 and draw.random() < 0.3:
        pad = "same"
    pads = pad if pad == "same" else (pad, 1, 1)
    size = ((kernel, 3, 3), (stride, 1, 1), pads, (dilation, 1, 1))
    groups = draw.choice([1, CHANNELS])
    layer = nn.Conv3d(CHANNELS, CHANNELS, *size, groups=groups, padding_mode=mode)
    return layer, 1 / stride


def acs(draw):
    return ACSConv3d(CHANNELS, CHANNELS, 3, padding=1), 1


def pool(kind):
    def make(draw):
        kernel = draw.choice([1, 2, 3])
        stride = draw.choice([1, kernel])
        pad = draw.randrange(0, kernel // 2 + 1)
        more = {}
        if kind is nn.AvgPool3d:
            more = dict(count_include_pad=draw.random() < 0.5)
            more["divisor_override"] = draw.choice([None, None, 5])
        elif kernel > 1:
            more = dict(dilation=(draw.choice([1, 2]), 1, 1))
        if not pad and kernel == stride and not more.get("divisor_override"):
            more["ceil_mode"] = draw.random() < 0.5 and more.get("dilation", (1,))[0] == 1
        return kind((kernel, 1, 1), (stride, 1, 1), (pad, 0, 0), **more), 1 / stride

    return make


def conv1d(draw):
    kernel, stride = draw.choice([2, 3]), draw.choice([1, 2])
    pad = draw.randrange(kernel)

    def run(block, x):
        features = block.layer(x.mean((3, 4)))
        return features[..., None, None].repeat_interleave(6, 3).repeat_interleave(6, 4)

    layer = nn.Conv1d(CHANNELS, CHANNELS, kernel, stride, pad)
    return Block(run, layer=layer), 1 / stride


def grow(draw):
    kernel, stride, dilation = draw.choice([1, 2, 3, 4]), draw.choice([1, 2, 3]), 1
    if draw.random() < 0.3:
        dilation = 2
    reach = dilation * (kernel - 1)
    pad, more = draw.randrange(0, min(reach, 2) + 1), draw.randrange(0, max(stride, dilation))
    size = ((kernel, 3, 3), (stride, 1, 1), (pad, 1, 1), (more, 0, 0))
    layer = nn.ConvTranspose3d(CHANNELS, CHANNELS, *size, dilation=(dilation, 1, 1))
    return layer, stride


def resize(draw):
    times = draw.choice([1, 2, 3])
    mode = draw.choice(["nearest", "nearest-exact", "trilinear", "area"])
    layer = nn.Upsample(scale_factor=(times, 1, 1), mode=mode)
    if mode == "trilinear" and times == 1 and draw.random() < 0.5:
        layer.align_corners = True
    return layer, times


def resize_area(draw):
    return Block(lambda b, x: F.interpolate(x, scale_factor=(2, 1, 1), mode="area")), 2


def interleave(function):
    return lambda draw: (Block(lambda b, x: function(x, 2, 2)), 2)


def pad(draw):
    mode = draw.choice(["constant", "replicate"])
    low = -1 if mode == "constant" else 0
    time = draw.randint(low, 2), draw.randint(low, 2)
    value = draw.choice([0.0, -1.5]) if mode == "constant" else None
    if draw.random() < 0.5:
        return Block(lambda b, x: F.pad(x, (0, 0, 0, 0, *time), mode, value)), 1

    def moved(block, x):
        y = F.pad(x.transpose(1, 2), (0, 0, 0, 0, 0, 0, *time), "constant", value or 0.0)
        return y.transpose(1, 2)

    return Block(moved), 1


def cut(draw):
    first, last, by = draw.randrange(3), draw.randrange(3), draw.choice([1, 1, 2, 3])
    kind = draw.randrange(4)

    def run(block, x):
        if kind == 0:
            return x[:, :, first : x.shape[2] - last : by]
        if kind == 1:
            return x[..., first : -last or None : by, :, :]
        if kind == 2:
            return x.permute(0, 2, 3, 4, 1)[:, first : -last or None : by].movedim(-1, 1)
        shifted = F.pad(x[:, :1, : -last or None], (0, 0, 0, 0, last, 0))
        return torch.cat([shifted, x[:, 1:, None][:, :, 0]], 1)

    return Block(run), 1 if kind == 3 else 1 / by


def written(draw):
    """A shift in time, written into zeros, a copy or a part of the channels, or joined."""
    first, last = draw.randrange(3), draw.randrange(3)
    kind, value = draw.randrange(5), draw.choice([0.0, 1.5])

    def run(block, x):
        if kind == 0:
            y = torch.zeros_like(x)
            y[:, :1, first:] = x[:, :1, : -first or None]
            y[:, 1:, : -last or None] = x[:, 1:, last:]
            return y
        if kind == 1:
            y = x.movedim(1, -1).clone()
            y[:, first : -last or None, ..., 0] = value
            return y.movedim(-1, 1)
        if kind == 2:
            y = x.clone()
            here = (slice(None), 0, slice(first, -last or None), slice(1, None))
            y[here] = y[here] + x.tanh()[here]
            return y
        ends = [x.new_full((*x.shape[:2], n, *x.shape[3:]), value) for n in (first, last)]
        if kind == 3:
            return torch.cat([ends[0], x, ends[1]], 2)
        zeros = (x - x)[:, :, :1]
        return torch.cat([zeros, x[:, :, :-1]], 2) + torch.cat([x[:, :, 1:], zeros], 2)

    return Block(run), 1


def narrow(function):
    def make(draw):
        first = draw.randrange(3)
        return Block(lambda b, x: function(x, 2, first, x.size(2) - first - 1)), 1

    return make


def recurrent(kind):
    layer = {
        torch.gru: nn.GRU,
        torch.lstm: nn.LSTM,
        torch.rnn_tanh: nn.RNN,
        torch.rnn_relu: lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
    }[kind]

    def run(block, x):
        features = x.mean((3, 4))
        if block.layer.batch_first:
            y = block.layer(features.transpose(1, 2))[0].transpose(1, 2)
        else:
            y = block.layer(features.permute(2, 0, 1))[0].permute(1, 2, 0)
        return x * y[..., None, None]

    def make(draw):
        first = draw.random() < 0.5
        net = layer(CHANNELS, CHANNELS, draw.choice([1, 2]), batch_first=first)
        return Block(run, layer=net), 1

    return make


def reduced(function):
    """Within each frame, on any layout."""
    values = lambda y: y if isinstance(y, Tensor) else y[0]  # noqa: E731

    def run(block, x):
        a = values(function(x, -1, keepdim=True))
        b = values(function(x.movedim(1, -1), -1)).unsqueeze(1)
        return x * 0.5 + a.sigmoid() + b.tanh()

    return same(run)


def adaptive(function):
    return same(lambda b, x: x + function(x, (None, 1, 1)).sigmoid())


def splits(function):
    def run(block, x):
        a, b = function(block.conv(x), 2, 1) if function not in UNBINDS else two(function, x)
        return torch.cat([b, x.narrow(1, 0, 2), a * 2], 1)[:, :CHANNELS]

    return same(run, conv=conv)


UNBINDS = {torch.unbind, Tensor.unbind}


def two(function, x):
    parts = function(x.unsqueeze(1), 1)[0].unflatten(1, (2, 2))
    return function(parts, 1)


def stacked(b, x):
    return torch.stack([b.one(x), x], b.axis).sum(b.axis)


def stack(draw):
    block = Block(stacked, one=conv(draw))
    block.axis = draw.choice([0, 1, 2, -1])
    return block, 1


def concatenated(function):
    return same(lambda b, x: function([b.one(x)[:, :2], x[:, 2:]], 1), one=conv)


ROWS = {
    torch.flatten: same(lambda b, x: x.flatten(3).relu().unflatten(3, x.shape[3:])),
    Tensor.flatten: same(lambda b, x: torch.flatten(x, 3, 4).contiguous().view(x.shape)),
    torch.unflatten: same(lambda b, x: torch.unflatten(x, 1, (2, 2)).flatten(1, 2)),
    Tensor.unflatten: same(lambda b, x: x.unflatten(4, (1, -1)).squeeze(4)),
    torch.reshape: same(lambda b, x: torch.reshape(x, (*x.shape[:3], -1)).reshape(x.shape)),
    Tensor.reshape: same(lambda b, x: x.reshape(x.size(0), 2, 2, *x.shape[2:]).flatten(1, 2)),
    Tensor.view: same(lambda b, x: x.contiguous().view(*x.shape[:3], -1).relu().view(*x.shape)),
    Tensor.view_as: same(lambda b, x: x.flatten(3).contiguous().view_as(x) * 2),
    Tensor.reshape_as: same(lambda b, x: x.flatten(3).reshape_as(x) * 2),
    torch.squeeze: same(lambda b, x: torch.squeeze(x.unsqueeze(2), 2)),
    Tensor.squeeze: same(
        lambda b, x: x.mean((3, 4), keepdim=True).squeeze((3, 4))[..., None, None] + x
    ),
    torch.unsqueeze: same(lambda b, x: torch.unsqueeze(x, 0)[0]),
    Tensor.unsqueeze: same(lambda b, x: x.unsqueeze(-1).relu()[..., 0]),
}
MOVES = {
    Tensor.mT.__get__: same(lambda b, x: (x.transpose(2, 3).mT.relu().mT * 2).transpose(2, 3)),
    **{f: transposed_axes(f, 1, 2) for f in (torch.transpose, Tensor.transpose)},
    **{f: transposed_axes(f, 2, -1) for f in (torch.swapaxes, Tensor.swapaxes)},
    **{f: transposed_axes(f, 0, 2) for f in (torch.swapdims, Tensor.swapdims)},
    **{f: transposed_axes(f, (0, 2, 1, 3, 4)) for f in (torch.permute, Tensor.permute)},
    **{f: transposed_axes(f, (1, 2), (2, 1)) for f in (torch.movedim, Tensor.movedim)},
    **{f: transposed_axes(f, (0, 2), (2, 0)) for f in (torch.moveaxis, Tensor.moveaxis)},
}
OVER_TIME = {
    F.conv1d: conv1d,
    F.conv3d: conv3d,
    fast.conv3d: acs,
    F.max_pool3d: pool(nn.MaxPool3d),
    F.avg_pool3d: pool(nn.AvgPool3d),
    F.lp_pool3d: same(lambda b, x: F.lp_pool3d(positive(x), 2.0, (3, 1, 1), 1)),
    torch.einsum: same(
        lambda b, x: torch.einsum("bcthw,dc->bdthw", x, torch.eye(CHANNELS, dtype=x.dtype) * 2)
    ),
    **{
        f: same(lambda b, x, f=f: f(x, x.mT) @ x / 100)
        for f in (torch.matmul, Tensor.matmul, Tensor.__matmul__)
    },
    **{
        f: same(lambda b, x, f=f: x + f(x.mean((3, 4)).mT, 1).mT[..., None, None])
        for f in (F.adaptive_avg_pool1d, F.adaptive_max_pool1d)
    },
    F.adaptive_avg_pool3d: adaptive(F.adaptive_avg_pool3d),
    F.adaptive_max_pool3d: adaptive(F.adaptive_max_pool3d),
    F.conv_transpose3d: grow,
    F.interpolate: resize,
    F.pad: pad,
    Tensor.__getitem__: cut,
    Tensor.__setitem__: written,
    torch.stack: stack,
    Tensor.repeat: same(lambda b, x: x[:, :1].repeat(1, CHANNELS, 1, 1, 1) + x),
    **{f: interleave(f) for f in (torch.repeat_interleave, Tensor.repeat_interleave)},
    **{f: narrow(f) for f in (torch.narrow, Tensor.narrow)},
    **{
        f: same(lambda b, x, f=f: x + f(x, 1, 2).unsqueeze(1))
        for f in (torch.select, Tensor.select)
    },
    **{f: recurrent(f) for f in (torch.gru, torch.lstm, torch.rnn_tanh, torch.rnn_relu)},
    **{f: reduced(f) for f in (torch.mean, Tensor.mean, torch.amax, Tensor.amax)},
    **{f: reduced(f) for f in (torch.amin, Tensor.amin, torch.sum, Tensor.sum)},
    **{f: reduced(f) for f in (torch.max, Tensor.max, torch.min, Tensor.min)},
    **{f: splits(f) for f in (torch.chunk, Tensor.chunk, torch.split, Tensor.split)},
    **{f: splits(f) for f in (torch.unbind, Tensor.unbind)},
    **{f: concatenated(f) for f in (torch.cat, torch.concat, torch.concatenate)},
    **ROWS,
    **MOVES,
}
# (draw) -> (block, frames it makes of each)
BLOCKS = {
    **{f: pointwise(f) for f in SAME_FRAMES if f != Tensor.data.__get__},
    Tensor.data.__get__: same(lambda b, x: x.data * 2),
    **{f: join(f) for f in JOINS},
    **CONDITIONAL,
    **OVER_TIME,
}
# not drawn, so that a seed keeps its network: other ways to call functions that are drawn
_ACTIVATIONS = "silu leaky_relu mish elu hardsigmoid relu6 hardtanh hardswish"
_OF_TORCH = "clamp_min selu celu sigmoid_ clamp_ clamp_max tanh_ detach threshold true_divide rsub"
ALIASES = {getattr(torch._C._nn, name) for name in _ACTIVATIONS.split()}
ALIASES |= {getattr(torch, name) for name in _OF_TORCH.split()}
ALIASES |= {Tensor.maximum, Tensor.minimum, Tensor.true_divide}
# nor steps, which make much of a rounding error, nor what was added since the seeds were drawn
_STEPS = "ceil floor round sign trunc where masked_fill masked_fill_"
_LATER = """celu_ clip cos elu_ erf exp_ expm1 hardshrink hardtanh_ leaky_relu_ log1p log_sigmoid
nan_to_num __neg__ ones_like reciprocal relu6_ selu_ sin zeros_like
einsum matmul __matmul__ lp_pool3d"""
_UNDRAWN = {*MASKS, *_STEPS.split(), *_LATER.split()}
ALIASES |= {f for f in BLOCKS if getattr(f, "__name__", "") in _UNDRAWN}
KNOWN = {*SAME_FRAMES, *JOINS, *CONDITIONS, *CALLS}

# what is made of all frames in the end; None: nothing, frames stay
HEADS = {
    "maps": lambda b, x: x,
    "mean": lambda b, x: x.mean((2, 3, 4)),
    "means": lambda b, x: x.mean(-1).mean(-1).mean(-1),
    "rows": lambda b, x: x.flatten(2).mean(2),
    "view": lambda b, x: x.contiguous().view(x.size(0), x.size(1), -1).mean(2),
    "pool": lambda b, x: F.avg_pool3d(x, x.shape[2:]).flatten(1),
    "data": lambda b, x: F.avg_pool3d(x, x.data.size()[-3:]).view(x.size(0), -1),
    "adaptive": lambda b, x: F.adaptive_avg_pool3d(x, 1).flatten(1),
    "max": lambda b, x: F.adaptive_max_pool3d(x, 1).flatten(1),
    "amax": lambda b, x: x.amax((2, 3, 4)),
    "max_pool": lambda b, x: F.max_pool3d(x, x.shape[2:])[:, :, 0, 0, 0],
    "last": lambda b, x: x[:, :, -1].mean((2, 3)),
    "last_kept": lambda b, x: x[:, :, -1:].mean((3, 4)).squeeze(2),
    "select": lambda b, x: x.select(2, x.shape[2] - 1).amax((-2, -1)),
    "frames_second": lambda b, x: x.transpose(1, 2).mean(dim=(3, 4)).mean(1).unsqueeze(0)[0],
    "frames_last": lambda b, x: F.linear(x.mean((3, 4)).mT.mean(1), b.weight),
    "gru": lambda b, x: b.gru(x.mean((3, 4)).transpose(1, 2))[0][:, -1],
    "gru_state": lambda b, x: b.gru(x.mean((3, 4)).transpose(1, 2))[1][-1],
    "lstm_state": lambda b, x: torch.cat(b.lstm(x.mean((3, 4)).permute(2, 0, 1))[1], 2)[0],
    "several": lambda b, x: {"maps": x, "more": [x.mean((3, 4))]},
}


def head(name):
    """A head, with the layers it may use."""
    block = Block(HEADS[name], gru=nn.GRU(CHANNELS, CHANNELS, batch_first=True))
    block.lstm = nn.LSTM(CHANNELS, CHANNELS)
    block.weight = nn.Parameter(torch.randn(3, CHANNELS))
    return block
