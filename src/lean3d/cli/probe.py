"""lean3d probe RECIPE"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lean3d.cli.device import find_device
from lean3d.cli.parse import parse
from lean3d.cli.show import show_json, show_table
from lean3d.cli.train import recipes_help, with_model
from lean3d.files import check_outputs, write_text
from lean3d.metrics.classes import TITLES
from lean3d.recipes import Recipe, get_recipe, list_recipes
from lean3d.report import json_line

__all__ = ["main"]


@dataclass(frozen=True)
class Probe:
    """Fit a logistic regression on features as they are; settings are those of lean3d train.

    Attributes:
        json: File for the scores, with the recipe and where it ran.
        strength: Inverse of the L2 penalty on the weights of the regression.
        device: Where to compute, such as cuda; a GPU if there is one by default.
    """

    recipe: Recipe
    json: Path | None = None
    strength: float = 0.1
    device: str | None = None


def main(argv: list[str]) -> None:
    name, *rest = argv or ["--help"]
    if name in ("-h", "--help"):
        known = {n: what for n, what in list_recipes().items() if _is_for_classes(n)}
        print(recipes_help("probe", known))
        return
    asked = parse(Probe, f"probe {name}", rest, default=Probe(get_recipe(name)))
    recipe = with_model(asked.recipe, get_recipe(name), rest)
    check_outputs({"--json": asked.json})
    device = find_device(asked.device)
    from lean3d.recipes.probe import probe
    from lean3d.train.provenance import provenance

    def tell(line: str) -> None:
        print(f"lean3d: {line}", file=sys.stderr, flush=True)

    found = probe(recipe, strength=asked.strength, device=device, tell=tell)
    names = sorted((n for n in TITLES if n in found[0]), key=lambda name: name != "auc")  # first
    show_table(
        [{"score": TITLES[n], **{row["part"]: row[n] for row in found}} for n in names]
        + [{"score": "volumes", **{row["part"]: str(row["volumes"]) for row in found}}]
    )
    record: dict[str, Any] = {
        "recipe": recipe.name,
        "model": recipe.model,
        "convert": recipe.convert,
    }
    record |= {"weights": recipe.weights, "scores": found}
    if asked.json is not None:
        whole = record | {"settings": recipe.to_dict(), "strength": asked.strength}
        whole |= {"where": provenance()}
        write_text(asked.json, json_line(whole) + "\n")
        print(f"the scores are in {asked.json}")
    show_json(record)


def _is_for_classes(name: str) -> bool:
    return get_recipe(name).task == "volume_classification"
