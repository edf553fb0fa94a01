"""Cycling planes: the blocks of 2D networks on the planes of volumes, against slow definitions."""

import copy
import io
import itertools
import pickle
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import lean3d
from lean3d import ConversionError, PlaneCycle, convert, unconvert
from lean3d.conversion.cycle.planes import across
from lean3d.infer.export import export_network

ORDER = ("HW", "DW", "DH", "HW")


class Attention(nn.Module):
    """A block of a transformer; with a rotary table, if it is given one."""

    def __init__(self, width=8):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x, table=None):
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        if table is not None:
            more = torch.cat([torch.zeros_like(table[:1]), table])
            q, k = q + more, k * (1 + more)
        q, k, v = q[:, None], k[:, None], v[:, None]  # one head
        x = x + self.out(F.scaled_dot_product_attention(q, k, v)[:, 0])
        return x + self.mlp(x)


class ViT(nn.Module):
    """Patches, a class token, four blocks, a table of positions, which is built for any size."""

    def __init__(self, rotary=False, patch=4):
        super().__init__()
        self.patch_embed, self.rotary = nn.Conv2d(2, 8, patch, patch), rotary
        self.cls_token = nn.Parameter(torch.randn(1, 1, 8))
        self.blocks = nn.ModuleList(Attention() for _ in range(4))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)
        self.frequencies = nn.Parameter(torch.randn(2, 8))
        self.checkpointing = ""

    def table(self, rows, columns):
        across = torch.arange(columns).to(self.frequencies)[None, :, None] * self.frequencies[1]
        down = torch.arange(rows).to(self.frequencies)[:, None, None] * self.frequencies[0]
        return torch.sin(down + across).flatten(0, 1)

    def forward_features(self, x):
        x = self.patch_embed(x)
        rows, columns = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        table = self.table(rows, columns)
        x = x if self.rotary else x + table
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)
        for block in self.blocks:
            given = (x, table) if self.rotary else (x,)
            x = (
                checkpoint(block, *given, use_reentrant=False)
                if self.checkpointing
                else block(*given)
            )
        return self.norm(x)

    def forward(self, x):
        return self.head(self.forward_features(x)[:, 0])


class Residual(nn.Module):
    def __init__(self, width, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, stride, 1)
        self.norm, self.conv2 = nn.BatchNorm2d(width), nn.Conv2d(width, width, (3, 1), 1, (1, 0))
        self.skip = nn.Conv2d(width, width, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        return torch.relu(self.skip(x) + self.conv2(self.norm(self.conv1(x)).relu()))


class CNN(nn.Module):
    """Strided and plain blocks; returns a map."""

    def __init__(self):
        super().__init__()
        self.stem, self.pool = nn.Conv2d(2, 6, 3, 2, 1), nn.MaxPool2d(3, 2, 1)
        one = [Residual(6) for _ in range(4)]
        self.layer1 = nn.Sequential(*one)
        self.layer2 = nn.Sequential(Residual(6, 2), Residual(6))

    def forward(self, x):
        return self.layer2(self.layer1(self.pool(self.stem(x))))


class Last(nn.Module):
    """Channels come last, and blocks are given rows and columns, as in SegFormer and Swin."""

    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(2, 6, 2, 2)
        self.blocks = nn.ModuleList(Mixed() for _ in range(3))
        self.sized = nn.ModuleList(Sized() for _ in range(3))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.patch_embed(x).permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        batch, rows, columns, _ = x.shape
        x = x.flatten(1, 2)
        for block in self.sized:
            x = block(x, rows, columns)
        return self.head(x.reshape(batch, rows, columns, -1)).permute(0, 3, 1, 2)


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, (3, 5), 1, (1, 2), groups=6)

    def forward(self, x):
        return x + self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Sized(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(6, 6, (1, 3), 1, (0, 1)), nn.Linear(6, 6)

    def forward(self, x, rows, columns):
        maps = x.transpose(1, 2).unflatten(2, (rows, columns))
        return x + self.out(self.conv(maps).flatten(2).transpose(1, 2))


class UNet(nn.Module):
    """Blocks on both sides of a pool and an interpolation, with a skip."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 1)
        self.down, self.middle, self.up = Residual(4), Residual(4), Residual(4)
        self.out = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        fine = self.down(self.stem(x))
        coarse = self.middle(F.max_pool2d(fine, 2))
        up = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear")
        return self.out(torch.cat([fine, self.up(up)], 1))


class Gated(nn.Module):
    """A coarser map, pooled to one voxel, scales a finer one."""

    def __init__(self):
        super().__init__()
        self.stem, self.fine, self.coarse = nn.Conv2d(2, 4, 1), Residual(4), Residual(4)

    def forward(self, x):
        fine = self.fine(self.stem(x))
        return fine * self.coarse(F.max_pool2d(fine, 2)).mean((2, 3), keepdim=True)


NETWORKS = {"vit": ViT, "rotary": lambda: ViT(True), "cnn": CNN, "last": Last, "unet": UNet}


def build(name):
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network


def differ(wanted, got):
    assert wanted.shape == got.shape
    return ((wanted - got).abs().max() / wanted.abs().max()).item()


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_the_first_plane_alone_gives_the_2d_output_of_every_slice(name):
    flat = build(name)
    x = torch.randn(2, 2, 3, 24, 16)
    found = convert(flat, PlaneCycle(order=("HW",), keep_depth=None))(x)
    slices = torch.stack([flat(x[:, :, place]) for place in range(3)], 2)
    assert differ(slices if slices.ndim == 5 else slices.mean(2), found) < 1e-5


# two of the six orders in the quick tests, for one network of each kind of map
SIX = list(itertools.permutations((2, 3, 4)))
ROTATIONS = [(name, axes) for name in ("rotary", "cnn") for axes in SIX[2:4]]
SLOW = [(name, axes) for name in NETWORKS for axes in SIX if (name, axes) not in ROTATIONS]
SLOW = [pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW]


@pytest.mark.parametrize(("name", "axes"), [*ROTATIONS, *SLOW])
@torch.no_grad()
def test_a_rotated_volume_and_order_give_the_rotated_output(name, axes):
    flat, x = build(name), torch.randn(1, 2, 8, 24, 16)
    wanted = convert(flat, PlaneCycle())(x)
    # the axis that was D is now where `axes` has it, and so on
    now = {old: "DHW"[axes.index(place)] for old, place in zip("DHW", (2, 3, 4), strict=True)}
    order = tuple(now[plane[0]] + now[plane[1]] for plane in ORDER)
    found = convert(flat, PlaneCycle(order=order))(x.permute(0, 1, *axes))
    wanted = wanted.permute(0, 1, *axes) if wanted.ndim == 5 else wanted
    assert differ(wanted, found) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_one_slice_is_an_image(name):
    flat, image = build(name), torch.randn(2, 2, 24, 16)
    found = convert(flat, PlaneCycle())(image[:, :, None])
    wanted = flat(image)
    assert differ(wanted if wanted.ndim == 2 else wanted[:, :, None], found) < 1e-5


def blocks_one_by_one(flat, volume, tokens):
    """The method as in the paper: patches (B, D, H, W, C) and tokens of each slice, by loops."""
    batch, _, depth, _, _ = volume.shape
    maps = torch.stack([flat.patch_embed(volume[:, :, place]) for place in range(depth)], 2)
    x = maps.permute(0, 2, 3, 4, 1)
    if not flat.rotary:
        x = x + flat.table(*x.shape[2:4]).unflatten(0, x.shape[2:4])
    others = flat.cls_token.expand(batch, depth, -1)
    for block, plane in zip(flat.blocks, ORDER, strict=True):
        axis = {"HW": 1, "DW": 2, "DH": 3}[plane]
        slices = x.unbind(axis)
        if tokens == "mean":
            others = others.mean(1, keepdim=True).expand(-1, len(slices), -1)
        assert others.shape[1] == len(slices)  # of a cube
        done = []
        for place, one in enumerate(slices):
            rows, columns = one.shape[1:3]
            sequence = torch.cat([others[:, place, None], one.flatten(1, 2)], 1)
            given = (sequence, flat.table(rows, columns)) if flat.rotary else (sequence,)
            done.append(block(*given))
        x = torch.stack([y[:, 1:].unflatten(1, (rows, columns)) for y in done], axis)
        others = torch.stack([y[:, 0] for y in done], 1)
    return flat.norm(x), flat.norm(others)


@pytest.mark.parametrize("tokens", ["adaptive", "mean"])
@pytest.mark.parametrize("name", ["vit", "rotary"])
@torch.no_grad()
def test_tokens_follow_the_paper_on_a_cube_of_patches(name, tokens):
    flat, x = build(name), torch.randn(2, 2, 3, 12, 12)
    deep = convert(flat, PlaneCycle(tokens=tokens, keep_depth=None))
    patches, others = blocks_one_by_one(flat, x, tokens)
    found = deep.forward_features(x)
    assert differ(patches.flatten(1, 3), found[:, 1:]) < 1e-5
    assert differ(others.mean(1), found[:, 0]) < 1e-5
    assert differ(flat.head(others).mean(1), deep(x)) < 1e-5


@pytest.mark.parametrize(("slices", "count"), [(4, 6), (6, 4), (7, 3), (1, 5), (5, 1), (2, 8)])
def test_means_across_slices_are_the_same_in_a_graph(monkeypatch, slices, count):
    x = torch.randn(2, slices, 3, 4, dtype=torch.double)
    wanted = across(x, count, "adaptive")
    assert torch.equal(wanted[:, -1], x[:, (count - 1) * slices // count :].mean(1))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert differ(wanted, across(x, count, "adaptive")) < 1e-12


@torch.no_grad()
def test_a_block_on_another_plane_runs_on_its_rows_and_columns():
    flat, x = build("rotary"), torch.randn(1, 2, 5, 12, 8)
    deep = convert(flat, PlaneCycle(order=("HW", "DW"), keep_depth=None))
    block, given = deep.blocks[1], []
    block.qkv.register_forward_hook(lambda module, args, output: given.append(args[0].shape))
    deep(x)
    assert given == [(3, 1 + 5 * 2, 8)]  # a slice of each row, of 5 x 2 patches


@pytest.mark.parametrize("cycle", ["block", "stage", "layer"])
def test_planes_move_on_by_blocks_stages_or_layers(cycle):
    deep = convert(build("cnn"), PlaneCycle(cycle=cycle))
    planes = {row.path: row.after.split()[-1] for row in deep.conversion.rows}
    wanted = {
        "block": {"layer1.0": "HW", "layer1.1": "DW", "layer1.2": "DH", "layer1.3": "HW"},
        "stage": {"layer1.0": "HW", "layer1.1": "HW", "layer1.2": "HW", "layer2.1": "DW"},
        "layer": {"layer1.0.conv1": "HW", "layer1.0.conv2": "DW", "layer1.1.conv1": "DH"},
    }[cycle]
    assert {path: planes[path] for path in wanted} == wanted
    assert deep(torch.randn(1, 2, 16, 24, 32)).shape == (1, 6, 2, 3, 4)


@pytest.mark.parametrize(
    ("how", "depth"),
    [
        (PlaneCycle(), 2),
        (PlaneCycle(keep_depth=1), 4),
        (PlaneCycle(keep_depth=2), 8),
        (PlaneCycle(keep_depth=None), 16),
        (PlaneCycle(depth_stride=1), 4),
        (PlaneCycle(depth_stride=4), 1),
        (PlaneCycle(keep_depth=None, depth_stride=8), 2),
    ],
)
@torch.no_grad()
def test_depth_is_strided_as_asked(how, depth):
    assert convert(build("cnn"), how)(torch.randn(1, 2, 16, 24, 32)).shape == (1, 6, depth, 3, 4)


@torch.no_grad()
def test_slices_are_averaged_where_rows_are_strided():
    flat, x = build("cnn"), torch.randn(1, 2, 4, 24, 16)
    deep = convert(flat, PlaneCycle(order=("HW",), keep_depth=None, depth_stride=4))
    assert differ(flat(x.mean(2))[:, :, None], deep(x)) < 1e-5
    # a repeated image stays what it was, however often depth is strided
    image = torch.randn(1, 2, 24, 16)
    again = convert(flat, PlaneCycle(order=("HW",)))(image[:, :, None].expand(-1, -1, 9, -1, -1))
    assert differ(flat(image)[:, :, None].expand_as(again), again) < 1e-5


@torch.no_grad()
def test_a_gate_of_fewer_slices_reaches_all():
    flat, image = Gated().eval(), torch.randn(1, 2, 24, 16)
    deep = convert(flat, PlaneCycle(order=("HW",)))
    found = deep(image[:, :, None].expand(-1, -1, 8, -1, -1))
    assert differ(flat(image)[:, :, None].expand_as(found), found) < 1e-5


class Pyramid(nn.Module):
    """Pools until a map is one voxel, and returns to the size of its skips."""

    def __init__(self):
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(2, 4, 1), nn.ModuleList(Residual(4) for _ in range(2))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        fine = self.blocks[0](self.stem(x))
        middle = self.pool(fine)
        coarse = self.pool(middle)
        middle = middle + F.interpolate(coarse, size=middle.shape[2:], mode="bilinear")
        return self.blocks[1](fine + F.interpolate(middle, size=fine.shape[2:], mode="bilinear"))


@torch.no_grad()
def test_a_map_of_one_voxel_returns_to_the_depth_of_its_skip():
    flat, image = Pyramid().eval(), torch.randn(2, 2, 4, 4)
    deep = convert(flat, PlaneCycle(order=("HW",)), example=image)
    found = deep(image[:, :, None].expand(-1, -1, 12, -1, -1))
    assert differ(flat(image)[:, :, None].expand_as(found), found) < 1e-5


class Windows(nn.Module):
    """Attends within windows that have to fit, as MaxViT does."""

    def __init__(self):
        super().__init__()
        self.attend = Attention()

    def forward(self, x):
        if x.shape[1] % 4 or x.shape[2] % 4:
            raise ValueError("windows of 4 do not fit")
        tall = x.unflatten(2, (-1, 4)).unflatten(1, (-1, 4)).transpose(2, 3)
        windows = self.attend(tall.flatten(3, 4).flatten(0, 2)).unflatten(0, tall.shape[:3])
        return windows.unflatten(3, (4, 4)).transpose(2, 3).flatten(3, 4).flatten(1, 2)


class Windowed(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(2, 8, 1), nn.Sequential(Windows(), Windows())

    def forward(self, x):
        return self.blocks(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@torch.no_grad()
def test_a_plane_that_windows_do_not_fit_is_refused_by_the_name_of_the_block():
    flat = Windowed().eval()
    deep = convert(flat, PlaneCycle(), example=torch.randn(1, 2, 8, 12))
    assert deep.conversion.grade == "cycled"
    assert deep(torch.randn(1, 2, 4, 8, 12)).shape == (1, 8, 4, 8, 12)
    with pytest.raises(lean3d.ShapeError) as raised:
        deep(torch.randn(1, 2, 6, 8, 12))
    said = str(raised.value)
    assert "'blocks.1' does not take slices of 6 x 12 (DW): windows of 4 do not fit" in said
    assert "(8, 8, 12) fits: pad depth from 6 to 8" in said


@pytest.mark.parametrize("depth", [7, 8, 1])
@torch.no_grad()
def test_a_decoder_returns_to_the_depth_of_its_skips(depth):
    deep = convert(build("unet"), PlaneCycle())
    assert deep(torch.randn(2, 2, depth, 12, 16)).shape == (2, 3, depth, 12, 16)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_and_the_way_back(name):
    flat = build(name)
    deep = convert(flat, PlaneCycle())
    assert deep.conversion.grade == "cycled"
    assert all(c.passed for c in deep.conversion.checks)
    assert {k: v.shape for k, v in deep.state_dict().items()} == {
        k: v.shape for k, v in flat.state_dict().items()
    }
    image, volume = torch.randn(1, 2, 24, 16), torch.randn(1, 2, 8, 24, 16)
    with torch.no_grad():
        assert torch.equal(flat(image), deep(image))  # images as before
        wanted = deep(volume)
        for other in (copy.deepcopy(deep), pickle.loads(pickle.dumps(deep))):
            assert torch.equal(wanted, other(volume))
        back = unconvert(deep)
        assert type(back) is type(flat)
        assert not hasattr(back, "_cycle")
        assert [type(m) for m in back.modules()] == [type(m) for m in flat.modules()]
        assert torch.equal(flat(image), back(image))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_learns(name):
    deep = convert(build(name), PlaneCycle()).train()
    deep(torch.randn(2, 2, 8, 24, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in deep.parameters())


@pytest.mark.parametrize("name", ["vit", "rotary"])
def test_checkpointing_gives_the_same_gradients(name):
    x, gradients = torch.randn(2, 2, 8, 24, 16), []
    kinds = ("", "reentrant", "other") if name == "vit" else ("", "other")
    for checkpointing in kinds:
        deep = convert(build(name), PlaneCycle()).train()
        deep.checkpointing = checkpointing
        deep(x).square().sum().backward()
        gradients.append([p.grad for p in deep.parameters()])
    for other in gradients[1:]:
        pairs = zip(gradients[0], other, strict=True)
        assert max(differ(a, b) for a, b in pairs if a is not None and a.abs().max() > 0) < 1e-5


def test_a_block_repeated_for_unknown_volumes_is_refused():
    deep = convert(build("vit"), PlaneCycle())
    deep.checkpointing = "other"
    kept = [deep(torch.randn(batch, 2, 8 // batch * 4, 24, 16)) for batch in (2, 4)]
    with pytest.raises(lean3d.ShapeError, match="checkpointing repeats a block"):
        kept[0].sum().backward()


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_threads_do_not_meet(name):
    deep = convert(build(name), PlaneCycle())
    volumes = [torch.randn(batch, 2, 8, 24, 8 * batch) for batch in (1, 2, 3)]
    wanted, found = [deep(x) for x in volumes], {}

    def run(place):
        with torch.no_grad():
            found[place] = [deep(volumes[place]) for _ in range(5)]

    threads = [threading.Thread(target=run, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, outputs in found.items():
        assert all(torch.equal(wanted[place], y) for y in outputs)


def test_the_cost_is_that_of_the_slices():
    flat = build("vit")
    deep = convert(flat, PlaneCycle(order=("HW",), keep_depth=None))
    one, many = lean3d.count(flat, (1, 2, 24, 16)), lean3d.count(deep, (1, 2, 6, 24, 16))
    assert many.macs == 6 * one.macs
    assert many.params == one.params


class Counts(nn.Module):
    """Mixes its tokens by a weight for each of them, so that it takes one number of them."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.randn(24, 24) / 5)

    def forward(self, x):
        return x + torch.matmul(self.mix, x)


class OneSize(ViT):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Attention(), Counts(), Counts(), Attention()])

    def forward_features(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def test_a_block_that_cannot_is_named():
    torch.manual_seed(0)
    with pytest.raises(ConversionError, match=r"Counts at 'blocks\.[12]'") as raised:
        convert(OneSize().eval(), PlaneCycle(), example=torch.randn(1, 2, 24, 16))
    assert len(str(raised.value)) <= 400
    kept = convert(
        OneSize().eval(),
        PlaneCycle(),
        where=lambda path, module: isinstance(module, Attention),
        example=torch.randn(1, 2, 24, 16),
    )
    planes = {row.path: row.after for row in kept.conversion.rows}
    assert planes["blocks.3"] == "Attention on DW"
    assert "blocks.1" not in planes


def test_where_names_blocks_that_structure_does_not_show():
    deep = convert(build("cnn"), PlaneCycle(), where=lambda path, module: path == "layer1")
    assert [row.path for row in deep.conversion.rows if row.after.endswith(" on HW")] == ["layer1"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"order": ()}, "order is one plane or more"),
        ({"order": ("XY",)}, "order is one plane or more"),
        ({"tokens": "max"}, "tokens is 'adaptive' or 'mean'"),
        ({"cycle": "net"}, "cycle is"),
        ({"depth_stride": 0}, "depth_stride is a number of slices"),
    ],
)
def test_settings_are_checked(given, says):
    with pytest.raises(ConversionError, match=says):
        PlaneCycle(**given)


def test_other_ends():
    deep = convert(build("cnn"), PlaneCycle(), in_channels=1)
    assert deep(torch.randn(1, 1, 8, 24, 16)).shape[:2] == (1, 6)
    vit = convert(build("vit"), PlaneCycle(), num_classes=3)
    assert vit(torch.randn(1, 2, 8, 24, 16)).shape == (1, 3)
    assert len(vit.conversion.ends) == 1


def test_a_whole_network_is_stored():
    deep, file = convert(build("vit"), PlaneCycle()), io.BytesIO()
    torch.save(deep, file)
    file.seek(0)
    x = torch.randn(1, 2, 8, 24, 16)
    with torch.no_grad():
        assert torch.equal(deep(x), torch.load(file, weights_only=False)(x))


def test_a_slice_of_a_sequence_is_made_before_it_is_converted():
    class Conv(nn.Conv2d):
        pass

    flat = nn.Sequential(*(Conv(2, 2, 3, padding=1) for _ in range(4)))
    x = torch.randn(1, 2, 5, 6, 7)
    with pytest.raises(lean3d.ShapeError, match="take the slice of the 2D network"):
        convert(flat, PlaneCycle())[:2](x)
    assert convert(flat[:2], PlaneCycle())(x).shape == x.shape
    image = x[:, :, 0]
    assert torch.equal(convert(flat, PlaneCycle())[:2](image), flat[:2](image))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_compiled_and_exported(name):
    deep, x = convert(build(name), PlaneCycle()), torch.randn(2, 2, 8, 24, 16)
    wanted = deep(x)
    assert differ(wanted, torch.compile(deep, backend="aot_eager", fullgraph=True)(x)) < 1e-5
    assert differ(wanted, torch.export.export(deep, (x,), strict=False).module()(x)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
@pytest.mark.parametrize("sides", [(8, 24, 16), (16, 16, 16)])
def test_a_file_takes_volumes_of_other_sizes(tmp_path, suffix, sides):
    deep = convert(build("vit"), PlaneCycle())
    written = export_network(deep, tmp_path / f"vit.{suffix}", (1, 2, *sides))
    assert {0, 2, 3, 4} == set(written.free)
    assert len(written.checked) == 2


@pytest.mark.parametrize(
    "how", [PlaneCycle(), lean3d.ACS(), lean3d.SpaceTime(), lean3d.Dissect()], ids=str
)
def test_a_network_that_cycles_planes_is_not_converted_again(how):
    flat = nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(4)))
    deep = convert(flat, PlaneCycle())
    with pytest.raises(ConversionError, match="cycles planes already") as refused:
        convert(nn.Sequential(deep), how)
    assert len(str(refused.value).splitlines()) == 1
