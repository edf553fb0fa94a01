"""The section of README about the gestures, from the numbers alone."""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["section"]


def section(found: dict[str, Any]) -> str:
    """Tables with what the paper found beside them."""
    first, *_, rival = found["networks"]
    networks = [
        {
            "network": row["network"],
            "parameters": f"{row['params']:,}",
            "MMACs per answer": f"{row['MACs per answer'] / 1e6:.2f}",
            **{k: f"{row[k]:.3f}" for k in ("top-1", "ordered pairs", "played backwards")},
            "top-1 per MMAC": f"{row['top-1'] / (row['MACs per answer'] / 1e6):.3f}",
        }
        for row in found["networks"]
    ]
    heads = [
        {"head": r["head"], "parameters": f"{r['params']:,}", "top-1": f"{r['top-1']:.3f}"}
        for r in found["heads"]
    ]
    fewer = rival["MACs per answer"] / first["MACs per answer"]
    where = found["where"]
    return "\n\n".join(
        [
            table(networks),
            f"One more answer of D-ResNet-18 takes {fewer:.1f}x fewer multiply-adds than the "
            f"window of 3D-ResNet-18 of equal width; it names {first['top-1']:.1%} of the videos "
            f"against {rival['top-1']:.1%}.",
            table(heads),
            table(by_part(found)),
            table(by_erasure(found)),
            table(
                [
                    {"features of a piece": n, "top-1": f"{v:.3f}"}
                    for n, v in found["lengths"].items()
                ]
            ),
            f"{found['tests']} test videos, one seed (standard error up to 1.6 points), chance "
            f"{found['chance']:.3f}; {first['epochs']} epochs of {first['samples']} clips. "
            f"{where['hardware']}, torch {where['torch']}, commit {where['commit']}, "
            f"{where['date'][:10]}.",
        ]
    )


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


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Markdown, numbers to the right."""
    rows = list(rows)
    head = list(rows[0])
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *([str(r[k]) for k in head] for r in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
