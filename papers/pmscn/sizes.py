"""Parameters of PmSCn's networks, and their share of the 3D network's beside the paper's."""

from collections.abc import Mapping

from papers.results import Results

__all__ = ["sizes"]


def sizes(results: Results, printed: Mapping[str, float]) -> dict[str, dict[str, str]]:
    """Return the first columns of a table, by network.

    Args:
        printed: The paper's millions of parameters, by the part of a name before a comma.
    """
    names = list(dict.fromkeys(entry["name"] for entry in results.entries))
    own = {name: results.values(name, "params")[0] for name in names}
    rows = {}
    for name in names:
        row = {"network": name, "parameters": f"{own[name]:,}"}
        if "3D" in own:
            row["of 3D's"] = f"{100 * own[name] / own['3D']:.0f} %"
        theirs = printed.get(name.partition(",")[0])
        row["paper's share"] = f"{100 * theirs / printed['3D']:.0f} %" if theirs else ""
        rows[name] = row
    return rows
