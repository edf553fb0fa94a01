"""The section of README about the gestures, from the numbers alone."""

from collections.abc import Mapping
from typing import Any

from papers.text import table

__all__ = ["section"]

# accuracy on Kinetics-600 as printed, in percent: Tables 2 and 4, then Table 3
NETWORKS = {
    "D-ResNet-18, concat": "61.41",
    "D-ResNet-18, none": "58.74",
    "D-ResNet-18, sum": "58.40",
    "3D-ResNet-18": "57.65",
}
HEADS = {
    "fc": "61.41",
    **dict(zip((f"{n}-layer LSTM" for n in (1, 2, 3)), ("61.10", "62.02", "60.83"), strict=True)),
    **dict(zip((f"{n}-layer GRU" for n in (1, 2, 3)), ("61.08", "61.43", "61.38"), strict=True)),
}


def section(found: dict[str, Any]) -> str:
    """Tables, the paper's accuracies beside ours where it has any."""
    first, *_, rival = found["networks"]
    fewer = rival["MACs per answer"] / first["MACs per answer"]
    where = found["where"]
    lengths = [{"features": n, "top-1": f"{v:.3f}"} for n, v in found["lengths"].items()]
    return "\n\n".join(
        [
            "Temporal skips, and the conventional network (Tables 2 and 4):",
            table(map(network, found["networks"])),
            f"One more answer of D-ResNet-18 takes {fewer:.1f}x fewer multiply-adds than the "
            f"window of 3D-ResNet-18 of equal width; it names {first['top-1']:.1%} of the videos, "
            f"{rival['network']} {rival['top-1']:.1%}.",
            f"Heads on the features of {first['network']} (Table 3):",
            table(map(head, found["heads"])),
            "Accuracy by tenths of the video (Fig 7a):",
            table(by_part(found)),
            "Accuracy with the middle of the features erased (Fig 7b):",
            table(by_erasure(found)),
            "Two-layer LSTM, by the features of a training piece (Fig 6):",
            table(lengths),
            f"{found['tests']} test videos, one seed (standard error up to "
            f"{50 / found['tests'] ** 0.5:.1f} points), chance "
            f"{found['chance']:.3f}; {first['epochs']} epochs of {first['samples']} clips. "
            f"{where['hardware']}, torch {where['torch']}, commit {where['commit']}, "
            f"{where['date'][:10]}.",
        ]
    )


def network(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of Table 2."""
    mmacs = row["MACs per answer"] / 1e6
    kinds = "one clip", "top-1", "ordered pairs", "played backwards"
    scores = {key: f"{row[key]:.3f}" for key in kinds}
    return {
        "network": row["network"],
        "parameters": f"{row['params']:,}",
        "MMACs per answer": f"{mmacs:.2f}",
        **scores,
        "top-1 per MMAC": f"{row['top-1'] / mmacs:.3f}",
        "paper, Kinetics (%)": NETWORKS.get(row["network"], ""),
    }


def head(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of Table 3."""
    return {
        "head": row["head"],
        "parameters": f"{row['params']:,}",
        "top-1": f"{row['top-1']:.3f}",
        "paper, Kinetics (%)": HEADS.get(row["head"], ""),
    }


def by_part(found: dict[str, Any]) -> list[dict[str, str]]:
    """Fig 7a: a row a head."""
    return [
        {"head": name, **{f"tenth {n}": f"{v:.2f}" for n, v in enumerate(values, 1)}}
        for name, values in found["segments"].items()
    ]


def by_erasure(found: dict[str, Any]) -> list[dict[str, str]]:
    """Fig 7b: a row a head."""
    shares = [f"erased {share:.0%}" for share in found["erased"]]
    return [
        {"head": name, **{s: f"{v:.2f}" for s, v in zip(shares, values, strict=True)}}
        for name, values in found["erasure"].items()
    ]
