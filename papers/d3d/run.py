"""Every number of D3D, Tables 2, 4, 5, that can be recomputed, beside ours: `python -m papers.d3d`.

Paper: Köpüklü et al., Dissected 3D CNNs, arXiv:2009.14639
One online step is one new frame of 112 x 112. Caches are those of one stream, MB are 10^6 bytes.
"""

from collections.abc import Iterator
from pathlib import Path

from lean3d.cost import count
from lean3d.files import write_between
from lean3d.models import create_model
from lean3d.streaming import stream
from papers.d3d.table5 import dissected, table_5
from papers.rows import TWICE, Row, report

__all__ = ["main", "rows"]

SIDE = 112
STEP, CLIP = (1, 3, 1, SIDE, SIDE), (1, 3, 16, SIDE, SIDE)
# layers -> millions of parameters, MFLOPs, MB of cache, as printed
BASELINES = {18: ("33.24", "8323"), 50: ("44.24", "9835"), 101: ("83.29", "13664")}
WITH_FC = {
    18: ("20.66", "747", "0.97"),
    50: ("40.81", "1654", "1.95"),
    101: ("69.83", "3077", "2.81"),
}
WITH_LSTM = {
    18: ("31.05", "845", "0.94"),
    50: ("51.20", "1752", "1.92"),
    101: ("80.22", "3175", "2.78"),
}
SKIPS = {"none": ("15.94", "546"), "sum": ("15.94", "546"), "concat": ("20.66", "747")}
LSTM_NOTE = (
    "an LSTM step of 2 layers and its fc are 15.29 M multiply-adds; the row needs 103 M, the text "
    "says 108.2 M; no count known to us gives either"
)


def cost(
    name: str, printed: tuple[str, str], profile: str, note: str = "", aside: str = "", **options
) -> Iterator[Row]:
    """The rows of parameters and MFLOPs of one model."""
    model = create_model(name, **options)
    shape = STEP if name.startswith("d_") else CLIP
    found = count(model, shape, profile=profile)
    label = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
    yield Row(label, "parameters", printed[0], found.params / 1e6, "M", aside=aside)
    yield Row(label, "operations", printed[1], found.macs / 1e6, "MFLOP", note, aside)


def cache(name: str, printed: str, **options) -> Row:
    """Bytes kept between two steps: past feature maps, and the features of an fc head."""
    live = stream(create_model(name, **options).eval(), check=False)
    size = live.state_bytes(height=SIDE, width=SIDE)
    label = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
    aside = f"not counted: two frames, {size.input_state / 1e6:.3f}"
    if size.cache == size.conv_state:
        aside += f", what the LSTM carries, {size.head_state / 1e6:.3f}"
    return Row(label, "cache", printed, size.cache / 1e6, "MB", aside)


def rows() -> Iterator[Row]:
    """In the order of the tables."""
    for skip, printed in SKIPS.items():
        yield from cost("d_resnet_18", printed, "thop_fc_macs", skip=skip)
    for depth, printed in BASELINES.items():
        yield from cost(f"hara_resnet_{depth}", printed, "thop", "400 classes, not 600")
    for head, table in (("fc", WITH_FC), ("lstm", WITH_LSTM)):
        for depth, (params, flops, size) in table.items():
            note = LSTM_NOTE if head == "lstm" else ""
            name = f"d_resnet_{depth}"
            # Table 4 prints the first network of Table 2 again
            twice = TWICE if (params, flops) == SKIPS["concat"] else ""
            yield from cost(name, (params, flops), "thop_fc_macs", note, twice, head=head)
            yield cache(name, size, head=head)


def main() -> None:
    folder = Path(__file__).parent
    report([*rows(), *table_5()], folder)
    table = dissected()
    write_between(folder / "README.md", "dissected", table)
    print(table)
