"""Cycling planes for transformers as users write them: converted right, or refused truly."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lean3d import ConversionError, PlaneCycle, convert

FAST = "unchecked"  # the test checks it
ORDER, TURNED = ("HW", "DW", "DH", "HW"), ("WH", "DH", "DW", "WH")


class Block(nn.Module):
    """Attends, with a bias or a rotary table if it is given one; `axis` is that of the tokens."""

    def __init__(self, width=8, axis=1):
        super().__init__()
        self.norm, self.axis = nn.LayerNorm(width), axis
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, bias=None, table=None):
        tokens = {0: (0, 1), 1: (0, 0), 2: (1, 2)}[self.axis]
        y = x.transpose(*tokens)
        q, k, v = self.qkv(self.norm(y)).chunk(3, -1)
        if table is not None:
            cos, sin = table
            others = y.shape[1] - len(cos)
            q, k = (torch.cat([z[:, :others], z[:, others:] * cos + sin], 1) for z in (q, k))
        q, k, v = (z.unflatten(-1, (2, -1)).transpose(1, 2) for z in (q, k, v))
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return x + self.out(z.transpose(1, 2).flatten(2)).transpose(*tokens)


class Patches(nn.Module):
    """Four blocks on patches of 4; what subclasses change is how tokens are made and given."""

    axis, kind = 1, Block

    def __init__(self):
        super().__init__()
        self.patch, self.cls = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, 3, 8))
        self.blocks = nn.ModuleList(self.kind(axis=self.axis) for _ in range(4))
        self.head, self.rates = nn.Linear(8, 3), nn.Parameter(torch.rand(2, 8))

    def places(self, x):
        rows, columns = x.shape[2] // 4, x.shape[3] // 4
        down, along = torch.arange(rows).to(x), torch.arange(columns).to(x)
        return torch.stack(torch.meshgrid(down, along, indexing="ij")).flatten(1)

    def tokens(self, x):
        return self.patch(x).flatten(2).transpose(1, 2)

    def run(self, x, **given):
        for block in self.blocks:
            x = block(x, **given)
        return x

    def forward(self, x):
        return self.head(self.run(self.tokens(x)).mean(1))


class Rotary(Patches):
    """Class and register tokens, and a pair of tables by keyword."""

    def forward(self, x):
        angles = self.places(x).T @ self.rates
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), self.tokens(x)], 1)
        return self.head(self.run(x, table=(angles.cos(), angles.sin()))[:, 0])


class Rectangles(Rotary):
    """Patches that are not square."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, (4, 2), (4, 2))

    def places(self, x):
        return super().places(x.repeat_interleave(2, 3))


class Bias(Patches):
    """As many heads as images in a batch, so that a bias of heads is as long as the batch."""

    def forward(self, x):
        places = self.places(x)
        bias = -(places[:, :, None] - places[:, None]).abs()
        return self.head(self.run(self.tokens(x), bias=bias).mean(1))


class First(Patches):
    """Tokens come first, as in torch's own transformers; the output too."""

    axis = 0

    def forward(self, x):
        return self.head(self.run(self.tokens(x).transpose(0, 1)))


class Channels(Patches):
    axis = 2

    def forward(self, x):
        return self.head(self.run(self.tokens(x).transpose(1, 2)).mean(2))


class Cut(Patches):
    """Patches are cut by shapes alone."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Linear(48, 8)

    def tokens(self, x):
        batch, channels, height, width = x.shape
        x = x.reshape(batch, channels, height // 4, 4, width // 4, 4).permute(0, 2, 4, 1, 3, 5)
        return self.patch(x.reshape(batch, height * width // 16, -1))


class Unfolded(Cut):
    def tokens(self, x):
        return self.patch(F.unfold(x, 4, stride=4).transpose(1, 2))


class Windows(Block):
    """Attends in windows of 2 x 3, padded to fit; (B, H, W, C)."""

    def forward(self, x):
        _, height, width, _ = x.shape
        y = F.pad(x, (0, 0, 0, -width % 3, 0, -height % 2))
        y = y.unflatten(2, (-1, 3)).unflatten(1, (-1, 2)).transpose(2, 3)
        z = super().forward(y.flatten(3, 4).flatten(0, 2)).unflatten(0, y.shape[:3])
        z = z.unflatten(3, (2, 3)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return z[:, :height, :width]


class Named(Patches):
    """A dict of maps, channels first and last, features, and a list."""

    kind = Windows

    def forward(self, x):
        y = self.run(self.patch(x).permute(0, 2, 3, 1))
        scores = self.head(y).permute(0, 3, 1, 2)
        out = F.interpolate(scores, size=x.shape[2:], mode="bilinear")
        return {"out": out, "more": [y, y.mean((1, 2))]}


class Halved(nn.Module):
    """Tokens to half of their rows and columns, and back to a map of the batch that was read."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(2)

    def forward(self, x, rows, columns):
        x = self.pool(x.transpose(1, 2).unflatten(2, (rows, columns)))
        return x.flatten(2).transpose(1, 2), rows // 2, columns // 2


class Pyramid(Patches):
    def __init__(self):
        super().__init__()
        self.patch, self.halved = nn.Conv2d(3, 8, 2, 2), Halved()

    def forward(self, x):
        batch, _, height, width = x.shape
        x = self.blocks[1](self.blocks[0](self.tokens(x)))
        x, rows, columns = self.halved(x, height // 2, width // 2)
        x = self.blocks[3](self.blocks[2](x))
        return x.transpose(1, 2).reshape(batch, -1, rows, columns)


class Early(Patches):
    """The batch is read before depth shrinks; a table and class tokens are repeated for it."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Sequential(nn.Conv2d(3, 8, 2, 2), nn.Conv2d(8, 8, 2, 2))

    def forward(self, x):
        batch, rows, columns = x.shape[0], x.shape[2] // 4, x.shape[3] // 4
        places = torch.linspace(0, 1, rows * columns).to(x).view(1, 1, rows, columns)
        y = self.patch(x)
        y = y + places.repeat(batch, 1, 1, 1)
        y = torch.cat([self.cls.expand(batch, -1, -1), y.flatten(2).transpose(1, 2)], 1)
        return self.head(self.run(y)[:, 0])


class Step(nn.Module):
    """A convolution of a stride, added to a map that has it already."""

    def __init__(self, stride=1, axis=1):
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 8, 3, stride, 1), nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x, shortcut):
        return self.two(self.one(x).relu()) + shortcut


class Shortcuts(Patches):
    """A block is given maps of two sizes, and what comes before is joined again behind it."""

    kind = Step

    def __init__(self):
        super().__init__()
        self.pool, self.strided = nn.MaxPool2d(2), Step(2)

    def forward(self, x):
        x = self.patch(x)
        x = self.blocks[0](x, x)
        small = self.pool(x)
        x = self.strided(x, small)
        for block in self.blocks[1:]:
            x = torch.cat([block(x, small), small], 1)[:, :8]
        return x


class Recurrent(nn.Module):
    """Runs along the columns, then along the rows, of (B, H, W, C)."""

    def __init__(self, axis=1):
        super().__init__()
        self.down, self.along = (nn.LSTM(8, 4, batch_first=True, bidirectional=True) for _ in "xy")

    def forward(self, x):
        y = self.down(x.transpose(1, 2).flatten(0, 1))[0].unflatten(0, (-1, x.shape[2]))
        return x + y.transpose(1, 2) + self.along(x.flatten(0, 1))[0].view(x.shape)


class Sequences(Patches):
    kind = Recurrent

    def forward(self, x):
        return self.run(self.patch(x).permute(0, 2, 3, 1))


class Fewer(Block):
    """A quarter of the positions attend to all of them."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(2)

    def forward(self, x, rows, columns):
        batch, _, width = x.shape
        y = self.pool(x.transpose(1, 2).unflatten(2, (rows, columns)))
        q = self.qkv(y.flatten(2).transpose(1, 2)).view(batch, -1, 3 * width)[..., :width]
        k, v = self.qkv(x).view(batch, -1, 3, width)[:, :, 1:].unbind(2)
        return self.out(F.scaled_dot_product_attention(q, k, v))


class Quarters(Patches):
    def __init__(self):
        super().__init__()
        self.patch, self.fewer = nn.Conv2d(3, 8, 2, 2), Fewer()

    def forward(self, x):
        rows, columns = x.shape[2] // 2, x.shape[3] // 2
        x = self.fewer(self.blocks[1](self.blocks[0](self.tokens(x))), rows, columns)
        return self.head(self.blocks[3](self.blocks[2](x)).mean(1))


class Reducing(Block):
    """Attends to fewer keys, made by a strided convolution of the map."""

    def __init__(self, axis=1):
        super().__init__()
        self.fewer = nn.Conv2d(8, 8, 2, 2)

    def forward(self, x, size):
        y = self.fewer(x.transpose(1, 2).unflatten(2, size)).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(x)[..., :8], *self.qkv(self.norm(y))[..., 8:].chunk(2, -1)
        return x + self.out(F.scaled_dot_product_attention(q, k, v))


class Reduced(Patches):
    kind = Reducing

    def forward(self, x):
        return self.head(self.run(self.tokens(x), size=(x.shape[2] // 4, x.shape[3] // 4)).mean(1))


class Pooled(Patches):
    """Patches are pooled between two stages, class tokens are not, and meet them again."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 2, 2)
        self.pool = nn.Conv2d(8, 8, 3, 2, 1, groups=8)

    def forward(self, x):
        y, cls = self.patch(x), self.cls.expand(x.shape[0], -1, -1)
        for n in (0, 2):
            y, size = (self.pool(y) if n else y), [-(-side // (2 + n)) for side in x.shape[2:]]
            tokens = torch.cat([cls, y.flatten(2).transpose(1, 2)], 1)
            tokens = self.blocks[n + 1](self.blocks[n](tokens))
            cls, y = tokens[:, :3], tokens[:, 3:].transpose(1, 2).unflatten(2, size)
        return self.head(cls.mean(1))


class Scales(Patches):
    """Tokens of two resolutions, added to each other; their class tokens are stacked."""

    def __init__(self):
        super().__init__()
        self.patch, self.halved = nn.Conv2d(3, 8, 2, 2), nn.Conv2d(8, 8, 2, 2)

    def at(self, x, size, scale):
        batch, width = x.shape[0], x.shape[2]
        y = x[:, 3:].transpose(1, 2).reshape(batch, width, *size)
        y = F.interpolate(y, scale_factor=scale, mode="bilinear")
        return torch.cat([x[:, :3], y.reshape(batch, width, -1).transpose(1, 2)], 1)

    def joined(self, y):
        cls = self.cls.expand(y.shape[0], -1, -1)
        return torch.cat([cls, y.flatten(2).transpose(1, 2)], 1)

    def forward(self, x):
        y = self.patch(x)
        fine, size = self.blocks[0](self.joined(y)), y.shape[2:]
        y = self.halved(y)
        coarse, half = self.blocks[1](self.joined(y)), y.shape[2:]
        fine, coarse = fine + self.at(coarse, half, 2.0), coarse + self.at(fine, size, 0.5)
        fine, coarse = self.blocks[2](fine), self.blocks[3](coarse)
        return self.head(torch.stack([z[:, 0] for z in (fine, coarse)], 1).mean(1))


class Conv(nn.Module):
    def __init__(self, axis=1):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x):
        return x + self.conv(self.norm(x))


class Pooling(nn.Module):
    """Means of 12 x 12 and 1 x 1 parts beside the map, as a pyramid pooling decoder."""

    def __init__(self):
        super().__init__()
        self.pools = nn.ModuleList(nn.AdaptiveAvgPool2d(size) for size in (12, 1))

    def forward(self, x):
        maps = [F.interpolate(pool(x)[:, :4], x.shape[2:], mode="bilinear") for pool in self.pools]
        return torch.cat([*maps, x], dim=1)


class Parts(Patches):
    kind = Conv

    def __init__(self):
        super().__init__()
        self.parts, self.head = Pooling(), nn.Linear(16, 3)

    def forward(self, x):
        y = self.parts(self.run(self.patch(x)))
        return self.head(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Separable(nn.Module):
    """Attends linearly over the patches of (B, C, pixels of a patch, patches)."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Conv2d(8, 17, 1)

    def forward(self, x):
        q, k, v = self.qkv(x).split([1, 8, 8], 1)
        return x + v.relu() * (k * q.softmax(3)).sum(3, keepdim=True)


class Padding(nn.Module):
    """Pads a map to whole patches of 2 x 2, which it keeps."""

    def __init__(self, axis=1):
        super().__init__()
        self.parts = nn.Sequential(Separable(), Separable())

    def forward(self, x):
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        batch, _, height, width = x.shape
        y = x.reshape(batch, 8, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
        y = self.parts(y.reshape(batch, 8, 4, -1))
        y = y.reshape(batch, 8, 2, 2, height // 2, width // 2).permute(0, 1, 4, 2, 5, 3)
        return y.reshape(x.shape)


class Padded(Patches):
    kind = Padding

    def forward(self, x):
        y = self.patch(x)
        for block in self.blocks:
            y = block(y)[:, :, : y.shape[2], : y.shape[3]]
        return self.head(y.permute(0, 2, 3, 1)).mean((1, 2))


def build(kind):
    torch.manual_seed(0)
    return kind().double().eval()


def leaves(output):
    if isinstance(output, dict):
        return [output["out"], *output["more"]]
    return [output]


def close(wanted, got):
    assert wanted.shape == got.shape
    assert (wanted - got).abs().max() < 1e-9 * wanted.abs().max()


QUICK = Rotary, Bias, First, Named, Early, Shortcuts, Quarters, Reduced, Padded, Parts
SLOW = Cut, Pyramid, Pooled, Scales, Rectangles, Channels, Unfolded, Sequences
NETWORKS = [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)]


@pytest.mark.parametrize("kind", NETWORKS)
@torch.no_grad()
def test_slices_turns_one_slice_and_batches(kind):
    flat, x = build(kind), torch.randn(2, 3, 8, 16, 24, dtype=torch.double)
    deep = convert(flat, PlaneCycle())
    found = leaves(deep(x))
    # (a) the first plane alone
    alone = leaves(convert(flat, PlaneCycle(order=("HW",), keep_depth=None), accept=FAST)(x))
    slices = [leaves(flat(one)) for one in x.unbind(2)]
    for got, *each in zip(alone, *slices, strict=True):
        if got.ndim == 5:
            last = each[0].shape[3] == 8
            close(torch.stack(each, 1 if last else 2), got)
        elif kind is First:
            close(torch.cat(each), got)
        else:
            close(torch.stack(each).mean(0), got)
    # (b) height and width change places, those of the planes too
    turned = leaves(convert(flat, PlaneCycle(order=TURNED), accept=FAST)(x.transpose(3, 4)))
    for one, other in zip(found, turned, strict=True):
        if one.ndim == 5:
            last = one.shape[4] == 8
            close(one.transpose(*((2, 3) if last else (3, 4))), other)
        elif kind is First:
            close(one.unflatten(0, (2, 4, 6)).transpose(1, 2).flatten(0, 2), other)
        else:
            close(one, other)
    # (c) one slice is an image
    for wanted, got in zip(leaves(flat(x[:, :, 0])), leaves(deep(x[:, :, :1])), strict=True):
        close(wanted, got if got.ndim < 5 else got.squeeze(1 if got.shape[4] == 8 else 2))
    # the volumes of a batch do not meet, and every slice counts
    batch_axis = 1 if kind is First else 0
    for got, one in zip(found, leaves(deep(x[:1])), strict=True):
        close(got.narrow(batch_axis, 0, 1), one)
    x[:, :, -1] = 0
    assert not torch.equal(leaves(deep(x))[-1], found[-1])


def test_blocks_of_a_network_that_cuts_patches_itself_run_on_volumes_of_patches():
    rows = [row.after for row in convert(build(Cut), PlaneCycle()).conversion.rows]
    assert rows == ["Cut on slices of HW, 4 slices averaged", *(f"Block on {p}" for p in ORDER)]


class Fixed(Patches):
    """A table for one size, which is added to a map of one row as well."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 8, 8, 8))

    def forward(self, x):
        y = self.patch(x) + self.table
        return self.head(self.run(y.flatten(2).transpose(1, 2)).mean(1))


@torch.no_grad()
def test_a_table_of_one_size_says_nothing_about_images_of_a_row():
    flat, x = build(Fixed), torch.randn(1, 3, 8, 32, 32, dtype=torch.double)
    deep = convert(flat, PlaneCycle())
    assert [row.after for row in deep.conversion.rows][2:] == [f"Block on {p}" for p in ORDER]
    close(flat(x[:, :, 0]), deep(x[:, :, :1]))


class Squares(Fixed):
    """Channels last, as many as rows and columns."""

    kind = Windows

    def forward(self, x):
        y = (self.patch(x) + self.table).permute(0, 2, 3, 1)
        return self.head(self.run(y).mean((1, 2)))


class Cubes(Fixed):
    kind = Conv

    def forward(self, x):
        return self.head(self.run(self.patch(x) + self.table).mean((2, 3)))


@torch.no_grad()
def test_as_many_channels_as_rows_and_columns():
    with pytest.raises(ConversionError, match="may hold channels last"):
        convert(build(Squares), PlaneCycle())
    flat, x = build(Cubes), torch.randn(1, 3, 1, 32, 32, dtype=torch.double)
    close(flat(x[:, :, 0]), convert(flat, PlaneCycle())(x))
    # images of another size show it
    flat = build(Named)
    example = torch.randn(1, 3, 32, 32, dtype=torch.double)
    rows = convert(flat, PlaneCycle(), example=example).conversion.rows
    assert [row.after for row in rows if "Windows" in row.after] == [
        f"Windows on {p}" for p in ORDER
    ]
    x = torch.randn(1, 3, 8, 16, 24, dtype=torch.double)
    got = convert(flat, PlaneCycle(), example=example)(x)
    for one, other in zip(leaves(got), leaves(convert(flat, PlaneCycle())(x)), strict=True):
        close(one, other)


class Mixer(nn.Module):
    """Mixes 64 tokens, then 256 channels: as many as patches of two pixels."""

    def __init__(self, axis=1):
        super().__init__()
        self.tokens, self.channels = nn.Linear(64, 64), nn.Linear(256, 256)

    def forward(self, x):
        x = x + self.tokens(x.transpose(1, 2)).transpose(1, 2)
        return x + self.channels(x)


class Mixers(Patches):
    kind = Mixer

    def __init__(self):
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, 256, 4, 4), nn.Linear(256, 3)


@torch.no_grad()
def test_channels_are_no_patches_of_an_image_that_was_convolved():
    deep = convert(build(Mixers), PlaneCycle())
    rows = [row.after for row in deep.conversion.rows if "Mixer on" in row.after]
    assert rows == [f"Mixer on {p}" for p in ORDER]


class Columns(Patches):
    def tokens(self, x):
        return self.patch(x).transpose(2, 3).flatten(2).transpose(1, 2)


class Behind(Patches):
    def tokens(self, x):
        return torch.cat([super().tokens(x), self.cls.expand(x.shape[0], -1, -1)], 1)


class Batched(Bias):
    """A table that is repeated for every image."""

    def run(self, x, bias):
        return super().run(x, bias=bias.expand(x.shape[0], -1, -1, -1))

    def forward(self, x):
        places = self.places(x)
        bias = -(places[:, :, None] - places[:, None]).abs()
        return self.head(self.run(self.tokens(x), bias=bias).mean(1))


class Latents(Patches):
    """A few vectors look at the image; no block holds its map."""

    def forward(self, x):
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), self.tokens(x).mean(1, True)], 1)
        return self.head(self.run(x)[:, 0])


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Columns, r"Block at 'blocks\.0' .*not those of a map, row by row"),
        (Behind, r"Block at 'blocks\.0' .*do not depend on the image"),
        (Batched, r"Block at 'blocks\.0' .*slices of a volume cannot be found"),
        (Latents, "nothing in it that is repeated"),
    ],
)
def test_what_would_be_wrong_in_silence_is_refused(kind, says):
    with pytest.raises(ConversionError, match=says) as raised:
        convert(build(kind), PlaneCycle())
    assert len(str(raised.value)) <= 400
