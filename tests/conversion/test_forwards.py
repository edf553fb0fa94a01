"""Forwards that speak 2D: each sentence means in 3D what a 3D programmer would have written."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from flat_models import SqueezeExcite
from torch import nn

from lean3d.conversion import ACS, Inflate, MeanACS, Planar, SoftACS, convert
from lean3d.errors import ShapeError
from lean3d.ops.recorded import COMPILES

# before torch 2.8 dynamo does not follow the state that merged forwards run in
needs_dynamo = pytest.mark.skipif(not COMPILES, reason="this torch cannot compile merged forwards")


class Speaks2D(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def around(module, channels=4):
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1), module, nn.Conv2d(channels, 5, 3, padding=1)
    )


def unpack(x):
    batch, channels, height, width = x.shape
    return x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


def in_the_middle(x):
    scale = dict(scale_factor=2, mode="bicubic", align_corners=False)
    y = F.interpolate(x.transpose(1, 2).flatten(0, 1), **scale)
    y = y.unflatten(0, (x.shape[0], -1)).transpose(1, 2)
    lines = F.interpolate(y.flatten(3), (2 * x.shape[2], y[0, 0, 0].numel()), mode="bicubic")
    return lines.unflatten(3, y.shape[3:])


# name: what the 2D forward says, what it means on a volume
SENTENCES = {
    "bilinear": (
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"),
    ),
    "bilinear to a size": (
        lambda x: F.interpolate(F.max_pool2d(x, 2), x.shape[2:], mode="bilinear"),
        lambda x: F.interpolate(F.max_pool3d(x, 2), x.shape[2:], mode="trilinear"),
    ),
    "nearest": (
        lambda x: F.interpolate(x, scale_factor=2.0),
        lambda x: F.interpolate(x, scale_factor=2.0),
    ),
    "bicubic": (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), in_the_middle),
    "mean": (
        lambda x: x - x.mean((2, 3), keepdim=True),
        lambda x: x - x.mean((2, 3, 4), keepdim=True),
    ),
    "mean of the last two beside a pool": (
        lambda x: F.max_pool2d(x, 3, 1, 1) - x.mean([-2, -1], keepdim=True),
        lambda x: F.max_pool3d(x, 3, 1, 1) - x.mean((2, 3, 4), keepdim=True),
    ),
    "gate beside a pool": (
        lambda x: F.avg_pool2d(x, 3, 2, 1) * F.adaptive_avg_pool2d(x, 1).sigmoid(),
        lambda x: F.avg_pool3d(x, 3, 2, 1) * F.adaptive_avg_pool3d(x, 1).sigmoid(),
    ),
    "channel shuffle": (unpack, lambda x: x[:, [0, 2, 1, 3]]),
    "permute": (
        lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2),
        lambda x: F.layer_norm(x.permute(0, 2, 3, 4, 1), (4,)).permute(0, 4, 1, 2, 3),
    ),
    "attention to all positions": (
        lambda x: x + (x.flatten(2) @ x[:, :1].flatten(2).softmax(2).mT)[..., None],
        lambda x: x + (x.flatten(2) @ x[:, :1].flatten(2).softmax(2).mT)[..., None, None],
    ),
    "mean of the columns": (
        lambda x: x - x.mean(2, keepdim=True),
        lambda x: x - x.mean((2, 3), keepdim=True),
    ),
    "average": (lambda x: F.avg_pool2d(x, 2), lambda x: F.avg_pool3d(x, 2)),
    "maximum": (lambda x: F.max_pool2d(x, 3, 2, 1), lambda x: F.max_pool3d(x, 3, 2, 1)),
    "adaptive": (
        lambda x: F.adaptive_avg_pool2d(x, (3, 5)),
        lambda x: F.adaptive_avg_pool3d(x, (3, 3, 5)),
    ),
    "power": (
        lambda x: F.lp_pool2d(x.abs() + 1, 2.0, 2),
        lambda x: F.lp_pool3d(x.abs() + 1, 2.0, 2) / 2**0.5,
    ),
    "pad": (lambda x: F.pad(x, (1, 2, 3, 0)), lambda x: F.pad(x, (1, 2, 3, 0, 3, 0))),
    "reflected": (
        lambda x: F.pad(x, (1, 1, 2, 2), mode="reflect"),
        lambda x: F.pad(x, (1, 1, 2, 2, 2, 2), mode="reflect"),
    ),
    "crop": (lambda x: x[:, :, 1:, 1:], lambda x: x[:, :, 1:, 1:, 1:]),
    "crop of the last two": (lambda x: x[..., :-1, 1:], lambda x: x[..., :-1, :-1, 1:]),
    "every other": (lambda x: x[:, :, ::2, ::2], lambda x: x[:, :, ::2, ::2, ::2]),
    "group norm": (
        lambda x: F.max_pool2d(F.group_norm(x, 2), 3, 1, 1),
        lambda x: F.max_pool3d(F.group_norm(x, 2), 3, 1, 1),
    ),
    "instance norm": (lambda x: F.instance_norm(x), lambda x: F.instance_norm(x)),
    "variance": (
        lambda x: x / x.var((2, 3), unbiased=False, keepdim=True),
        lambda x: x / x.var((2, 3, 4), unbiased=False, keepdim=True),
    ),
    "gate of two axes": (
        lambda x: x * x.mean((2, 3))[:, :, None, None],
        lambda x: x * x.mean((2, 3, 4))[:, :, None, None, None],
    ),
    "a gain per channel": (
        lambda x: x * torch.arange(4.0).view(1, 4, 1, 1).to(x),
        lambda x: x * torch.arange(4.0).view(1, 4, 1, 1, 1).to(x),
    ),
    "an assertion": (
        lambda x: x if x.ndim == 4 else x / 0,
        lambda x: x,
    ),
    "chunks of channels": (
        lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
        lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    ),
    "mean over all but channels": (
        lambda x: x - x.mean(tuple(range(2, x.ndim)), keepdim=True),
        lambda x: x - x.mean((2, 3, 4), keepdim=True),
    ),
}


class Up(nn.Module):
    """As U-Nets are written in PyTorch: a map is padded to its skip's sides."""

    def __init__(self, channels):
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)
        self.conv = nn.Conv2d(channels, channels // 2, 3, padding=1)

    def forward(self, x, skip):
        x = self.up(x)
        down, right = (skip.size()[axis] - x.size()[axis] for axis in (2, 3))
        x = F.pad(x, [right // 2, right - right // 2, down // 2, down - down // 2])
        return self.conv(torch.cat([skip, x], dim=1))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        convs = (nn.Conv2d(c, 2 * c, 3, padding=1) for c in (2, 4, 8))
        self.stem, self.down = nn.Conv2d(3, 2, 3, padding=1), nn.ModuleList(convs)
        self.up = nn.ModuleList(Up(c) for c in (16, 8, 4))

    def forward(self, x):
        maps = [self.stem(x)]
        for conv in self.down:
            maps.append(conv(F.max_pool2d(maps[-1], 2)))
        y = maps.pop()
        for up in self.up:
            y = up(y, maps.pop())
        return y


@pytest.mark.parametrize("how", [ACS(), ACS(keep_depth=1), Inflate()], ids=str)
def test_a_map_padded_to_the_sides_of_another_gets_its_depth_too(how):
    deep = convert(UNet(), how)
    assert deep.conversion.grade == ("planar" if how.keep_depth else "isotropic")
    for size in ((16, 33, 33), (17, 32, 32), (9, 41, 40), (31, 24, 35)):
        assert deep(torch.randn(1, 3, *size)).shape == (1, 2, *size)


class CropUp(Up):
    """The first U-Net: convolutions do not pad, and skips are cut from the middle."""

    def __init__(self, channels):
        super().__init__(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 3)

    def forward(self, x, skip):
        x = self.up(x)
        top, left = ((skip.shape[axis] - x.shape[axis]) // 2 for axis in (2, 3))
        skip = skip[:, :, top : top + x.shape[2], left : left + x.shape[3]]
        return self.conv(torch.cat([skip, x], dim=1))


def test_a_skip_cut_from_the_middle_is_cut_from_the_middle_of_depth():
    model = UNet()
    model.down = nn.ModuleList(nn.Conv2d(c, 2 * c, 3) for c in (2, 4, 8))
    model.up = nn.ModuleList(CropUp(c) for c in (16, 8, 4))
    deep = convert(model, ACS())
    assert deep.conversion.grade == "isotropic"
    along = {side: model(torch.randn(1, 3, side, 64)).shape[2] for side in (46, 53, 60)}
    for depth, height in ((46, 60), (60, 46), (53, 60)):
        y = deep(torch.randn(1, 3, depth, height, 46))
        assert y.shape == (1, 2, along[depth], along[height], along[46])


def test_padding_at_the_front_alone_is_at_the_front_of_depth():
    def to_the_front(x):
        y = F.max_pool2d(x, 2)[:, :, :-1, :-1]
        rest = [x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2], 0]
        return x + F.pad(y, rest)

    deep = convert(around(Speaks2D(to_the_front)), ACS())
    x = torch.randn(1, 4, 9, 8, 10, dtype=torch.float64)
    y = F.max_pool3d(x, 2)[:, :, :-1, :-1, :-1]
    torch.testing.assert_close(deep[1](x), x + F.pad(y, [6, 0, 5, 0, 6, 0]))


@pytest.mark.parametrize("pool", [F.avg_pool2d, F.max_pool2d])
@pytest.mark.parametrize("how", [ACS(), Planar(), Inflate()], ids=str)
def test_a_window_as_large_as_the_plane_spans_the_volume(pool, how):
    whole = Speaks2D(lambda x: pool(x, x.size()[2:]).flatten(1))
    deep = convert(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), whole, nn.Linear(4, 2)), how)
    assert deep.conversion.grade == "isotropic"
    x = torch.randn(2, 4, 5, 9, 9)
    every = {F.avg_pool2d: torch.mean, F.max_pool2d: torch.amax}[pool]
    torch.testing.assert_close(deep[1](x), every(x, dim=(2, 3, 4)))


@pytest.mark.parametrize("name", SENTENCES)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_sentence_means_in_3d_what_it_says_in_2d(name, batch):
    flat, deep = SENTENCES[name]
    converted = convert(around(Speaks2D(flat)), ACS())
    assert converted.conversion.grade == "isotropic"
    x = torch.randn(batch, 4, 8, 10, 12, dtype=torch.float64)
    torch.testing.assert_close(converted[1](x), deep(x))


def test_only_forwards_that_speak_2d_are_folded():
    flat = around(Speaks2D(SENTENCES["chunks of channels"][0]))
    assert [row.path for row in convert(flat, ACS()).conversion.rows] == ["0", "2"]


def test_hooks_and_parts_of_a_folded_forward_see_volumes():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gate = nn.Conv2d(3, 8, 3, padding=1), SqueezeExcite(8)

        def forward(self, x):
            batch, _, height, width = x.shape
            return F.max_pool2d(self.gate(self.conv(x)).view(batch, 8, height, width), 2)

    deep, seen = convert(Block(), ACS()), []
    for module in deep.modules():
        module.register_forward_hook(lambda module, x, y: seen.append((x[0].ndim, y.ndim)))
    x = torch.randn(2, 3, 5, 6, 7)
    assert deep(x).shape == (2, 8, 2, 3, 3)
    assert set(seen) == {(5, 5)}
    assert len(seen) == 4
    assert deep.gate(deep.conv(x)).shape == (2, 8, 5, 6, 7)
    assert isinstance(deep, Block)
    assert str(deep).startswith("Block(\n  (conv): ACSConv3d(")


class Gated(nn.Module):
    """Both ways of folding, one inside the other."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate = nn.Conv2d(3, 8, 3, padding=1), SqueezeExcite(8)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 2)

    def forward(self, x):
        y = self.norm(F.interpolate(self.gate(self.conv(x)), scale_factor=0.5))
        return self.head(y.mean((2, 3)))


@pytest.mark.parametrize("how", [ACS(), MeanACS(), SoftACS(), Planar(), Inflate()], ids=str)
def test_a_folded_model_is_copied_stored_and_trained(how, tmp_path):
    deep, x = convert(Gated(), how), torch.randn(2, 3, 6, 8, 10)
    torch.save(deep, tmp_path / "deep.pt")
    copies = [copy.deepcopy(deep), pickle.loads(pickle.dumps(deep))]
    copies.append(torch.load(tmp_path / "deep.pt", weights_only=False))
    for other in copies:
        torch.testing.assert_close(other(x), deep(x))
        assert other.state_dict().keys() == deep.state_dict().keys()
    deep(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in deep.parameters())


def test_a_kernel_one_voxel_apart_from_its_neighbours_needs_no_stack():
    class Pointwise(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4, 1, 1))

        def forward(self, x):
            return F.conv2d(x, self.weight)

    rows = convert(around(Pointwise()), ACS()).conversion.rows
    assert [row.after for row in rows if row.path == "1"] == ["Pointwise, depth in height"]


class Same(nn.Conv2d):
    """Padded at each call for ceil(size / stride) outputs, as TensorFlow does."""

    def forward(self, x):
        pads = []
        for axis in (1, 0):
            size, kernel, stride = x.shape[2 + axis], self.kernel_size[axis], self.stride[axis]
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride)


@pytest.mark.parametrize("sizes", [(8, 9, 10), (9, 8, 7), (1, 5, 8), (7, 7, 7)], ids=str)
@pytest.mark.parametrize("how", [ACS(), Planar(), Inflate(pad="zeros")], ids=str)
def test_padding_made_for_a_size_is_made_for_the_size_of_depth(how, sizes):
    flat = Same(3, 4, 3, 2)
    deep = convert(flat, how)
    depth = [-(-size // 2) for size in sizes]
    x = torch.randn(2, 3, *sizes)
    assert deep(x).shape == (2, 4, *depth)
    # depth and height are alike: swapping them swaps the outputs of a kernel that sees neither
    if how == Planar():
        swapped = convert(flat, Planar(axis=1))(x.transpose(2, 3)).transpose(2, 3)
        torch.testing.assert_close(deep(x), swapped)


class AverageSame(nn.Module):
    """The zeros it pads with count."""

    def forward(self, x):
        sides = ((-(-size // 2) - 1) * 2 + 3 - size for size in (x.shape[3], x.shape[2]))
        pads = [amount for side in sides for amount in (side // 2, side - side // 2)]
        return F.avg_pool2d(F.pad(x, pads), 3, 2)


def test_zeros_padded_before_an_average_count_in_use_and_not_in_the_proof():
    deep = convert(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), AverageSame()), ACS())
    assert deep.conversion.grade == "isotropic"
    x = torch.ones(1, 4, 5, 7, 9)
    torch.testing.assert_close(deep[1](x), F.avg_pool3d(F.pad(x, (1,) * 6), 3, 2))


class Fixed(nn.Conv2d):
    """Padded alike at every size; at odd ones that is what Same would do."""

    def forward(self, x):
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias, self.stride)


@pytest.mark.parametrize("depth", [5, 6])
def test_padding_that_only_looks_made_for_a_size_is_the_same_at_every_depth(depth):
    deep = convert(Fixed(3, 4, 2, 2), Planar())
    x = torch.randn(1, 3, depth, 6, 7)
    expected = convert(nn.Conv2d(3, 4, 2, 2), Planar())
    expected.load_state_dict(deep.state_dict())
    torch.testing.assert_close(deep(x), expected(F.pad(x, (0, 1, 0, 1, 0, 1))))


class FixedAlike(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias, self.stride)


class Blur(nn.Module):
    """Padded alike at every size, by the image's mirror."""

    def forward(self, x):
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 2)


@pytest.mark.parametrize("layer", [Blur(), FixedAlike(3, 4, 3, 2)], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("strides", [0, 1, 2])
def test_fixed_padding_is_told_from_padding_made_for_a_size_after_any_strides(layer, strides):
    stem = [nn.Conv2d(3, 3, 3, 2, 1) for _ in range(strides)]
    deep = convert(nn.Sequential(*stem, layer), Planar())
    x = torch.randn(1, 3, 6, 8, 8)
    assert deep[strides](x).shape[2:] == (3, 4, 4)
    if isinstance(layer, FixedAlike):
        plain = nn.Conv2d(3, 4, 3, 2, 1)
        plain.load_state_dict(layer.state_dict())
        torch.testing.assert_close(deep[strides](x), convert(plain, Planar())(x))
    else:
        expected = F.avg_pool3d(F.pad(x, (1,) * 6, mode="reflect"), 3, 2)
        torch.testing.assert_close(deep[strides](x), expected)


@pytest.mark.parametrize("join", [torch.add, lambda x, y: x + y, lambda x, y: torch.cat([x, y], 1)])
@pytest.mark.parametrize(("size", "axis"), [((5, 8, 6), 2), ((4, 7, 6), 3), ((4, 8, 5), 4)])
def test_maps_that_do_not_fit_are_told_with_their_axis(join, size, axis):
    def decode(x):
        return join(F.interpolate(F.max_pool2d(x, 2), scale_factor=2.0), x)

    deep = convert(nn.Sequential(nn.Conv2d(3, 4, 1), Speaks2D(decode)), ACS())
    assert deep(torch.randn(2, 3, 4, 8, 6)).shape[2:] == (4, 8, 6)
    name = {2: "depth", 3: "height", 4: "width"}[axis]
    said = rf"pad {name} from \d to \d .*Speaks2D joins maps of .* along axis {axis}"
    with pytest.raises(ShapeError, match=said):
        deep(torch.randn(2, 3, *size))


def test_an_inflated_kernel_of_a_subclass_is_a_3d_parameter():
    deep = convert(nn.Sequential(Same(3, 4, 3, 2)), Inflate())
    assert deep[0].weight.shape == (4, 3, 3, 3, 3)


@needs_dynamo
@pytest.mark.parametrize("mode", ["eager", "aot_eager"])
def test_folded_models_compile(mode):
    deep, x = convert(Gated(), ACS()).eval(), torch.randn(2, 3, 6, 8, 10)
    torch._dynamo.reset()
    compiled = torch.compile(deep, backend=mode, fullgraph=True)
    torch.testing.assert_close(compiled(x), deep(x))


@needs_dynamo
def test_folded_models_export():
    deep, x = convert(Gated(), ACS()).eval(), torch.randn(2, 3, 6, 8, 10)
    program = torch.export.export(deep, (x,))
    torch.testing.assert_close(program.module()(x), deep(x))


class Skip(nn.Module):
    """Joins maps of two sizes, as decoders do."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x):
        y = self.a(x)
        small = F.max_pool2d(y, 2)
        return self.b(torch.cat([F.interpolate(small, scale_factor=2.0), y], 1)) + y[:, :2]


@pytest.mark.slow
@needs_dynamo
def test_folded_models_export_with_sizes_that_vary():
    deep, dim = convert(Skip().eval(), ACS()), torch.export.Dim
    sizes = {0: dim("b", min=2, max=8)}
    sizes |= {axis: 2 * dim(f"n{axis}", min=2, max=64) for axis in (2, 3, 4)}
    program = torch.export.export(deep, (torch.randn(2, 3, 8, 12, 16),), dynamic_shapes=(sizes,))
    x = torch.randn(3, 3, 6, 20, 10)
    torch.testing.assert_close(program.module()(x), deep(x))


class ChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Linear(8, 8)

    def forward(self, x_BHWC):
        return x_BHWC + self.linear(self.conv(x_BHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class Last(nn.Module):
    """Blocks between which images are (B, H, W, C)."""

    def __init__(self, strides):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 1), *(nn.AvgPool2d(2) for _ in range(strides)))
        self.blocks = nn.Sequential(ChannelsLast(), ChannelsLast())

    def forward(self, x):
        return self.blocks(self.stem(x).permute(0, 2, 3, 1)).mean((1, 2))


@pytest.mark.parametrize("strides", range(6))
def test_channels_that_come_last_are_seen_after_any_strides(strides):
    deep = convert(Last(strides), ACS())
    assert deep.conversion.grade == "isotropic"
    assert deep.blocks[0](torch.randn(2, 5, 6, 7, 8)).shape == (2, 5, 6, 7, 8)


@pytest.mark.parametrize("how", [ACS(), Planar()], ids=str)
def test_a_batch_of_no_volumes_gives_no_outputs_and_no_gradients(how):
    class Pyramid(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            y = F.max_pool2d(self.norm(self.conv(x)), 2)
            return {"map": F.interpolate(y, scale_factor=2.0), "scores": y.mean((2, 3))}

    deep = convert(Pyramid().eval(), how)
    one, none = deep(torch.randn(1, 1, 8, 12, 16)), deep(torch.randn(0, 1, 8, 12, 16))
    assert {k: v.shape for k, v in none.items()} == {k: (0, *v.shape[1:]) for k, v in one.items()}
    sum(v.sum() for v in none.values()).backward()
    assert not any(p.grad.any() for p in deep.parameters())
    with pytest.raises(ShapeError, match="no volumes in training, and 'norm' keeps"):
        deep.train()(torch.randn(0, 1, 8, 12, 16))
