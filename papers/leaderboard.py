"""What of the papers' claims holds here, one row a claim: `python -m papers.leaderboard`.

Rewrites the table of papers/README.md from the results files; trains nothing.
"""

from collections.abc import Sequence
from pathlib import Path

from lean3d.files import write_between
from papers.claims import CLAIMS, Claim
from papers.text import table

__all__ = ["main", "page"]

HERE = Path(__file__).parent


def page(claims: Sequence[Claim], folder: Path) -> str:
    """The table, and how many claims hold."""
    rows, words = [], []
    for number, claim in enumerate(claims, 1):
        finding = claim.find(folder)
        words.append(finding.verdict if finding else "not run yet")
        parts = finding.parts.items() if finding else ()
        said = "; ".join(text if so else f"not: {text}" for text, so in parts)
        rows.append(
            {
                "claim": f"{number}. {claim.text}",
                "where": claim.where,
                "verdict": words[-1],
                "here": said,
                "command": f"`{claim.command}`" if claim.command else "",
                "figure": f"[figure]({claim.figure})" if finding and claim.figure else "",
            }
        )
    counts = [(word, sum(said.startswith(word) for said in words)) for word in WORDS]
    summary = ", ".join(f"{word}: {number}" for word, number in counts)
    return "\n\n".join([table(rows, "---"), f"{summary}."])


WORDS = ("holds", "partly", "does not", "not run yet")


def main() -> None:
    text = page(CLAIMS, HERE)
    write_between(HERE / "README.md", "claims", text)
    print(text)


if __name__ == "__main__":
    main()
