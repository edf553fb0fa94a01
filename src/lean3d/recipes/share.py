"""A finished run as a folder to give away, on the Hugging Face Hub or anywhere else.

The folder holds recipe.json, model.safetensors and a card, README.md; it is a run folder for every
command that uses one.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from lean3d.errors import DataError, RunError
from lean3d.files import write_text, write_whole
from lean3d.optional import require
from lean3d.recipes.base import Recipe
from lean3d.recipes.load import WEIGHTS, load_run, read_recipe, read_record

__all__ = [
    "card_of",
    "empty_folder",
    "from_hub",
    "public_record",
    "push_to_hub",
    "save_pretrained",
    "scores_of",
]

CARD, RECORD = "README.md", "recipe.json"
TAGS = ["lean3d", "3d-cnn"]
PIPELINES = {"segmentation": "image-segmentation", "classification": "video-classification"}
USE = (
    "```python",
    "from lean3d.recipes.load import load_run",
    "from lean3d.recipes.share import from_hub",
    "",
    'model, recipe = load_run(from_hub("USER/NAME"))',
    "```",
)
# of a session, on which results depend
KEPT = "lean3d", "torch", "commit", "hardware", "date"


def save_pretrained(run: str | Path, folder: str | Path, *, license: str, name: str = "") -> Path:
    """Write a run to an empty folder: its recipe, its best weights and a card that describes it.

    Args:
        license: Of the weights, as the Hub names it, such as "apache-2.0" or "cc-by-nc-4.0".
        name: Title of the card; the folder's name by default.

    Raises:
        RunError: `run` is no finished run, or the folder holds files already.
    """
    run, folder = Path(run), empty_folder(folder)
    if not license.strip():
        raise RunError("a shared run needs the license of its weights, such as apache-2.0")
    save = require("safetensors.torch", extra="hub").save_model
    model, recipe = load_run(run)
    record = read_record(run)
    card = card_of(model, recipe, record, scores_of(run), license.strip(), name or folder.name)
    folder.mkdir(parents=True, exist_ok=True)
    with write_whole(folder / WEIGHTS) as temporary:
        save(model, str(temporary), metadata={"format": "pt"})
    write_text(folder / RECORD, json.dumps(public_record(record), indent=1) + "\n")
    write_text(folder / CARD, card)
    return folder


def push_to_hub(folder: str | Path, repo_id: str, *, private: bool = False) -> str:
    """Upload what `save_pretrained` wrote, and return its address.

    Args:
        repo_id: "user/name"; you are logged in, or HF_TOKEN is set.

    Raises:
        RunError: it is no such folder, or the Hub refuses it.
    """
    folder = Path(folder)
    if missing := [n for n in (CARD, RECORD, WEIGHTS) if not (folder / n).is_file()]:
        raise RunError(f"{folder} has no {missing[0]}; write it with save_pretrained first")
    hub = require("huggingface_hub", extra="hub")
    try:
        api = hub.HfApi()
        # on the Hub that HF_ENDPOINT names
        address = str(api.create_repo(repo_id, private=private, exist_ok=True))
        api.upload_folder(
            repo_id=repo_id, folder_path=folder, allow_patterns=[CARD, RECORD, WEIGHTS]
        )
    except Exception as error:  # the network, a token, or a name that is not allowed
        raise RunError(
            f"cannot push {folder} to {repo_id}: {_line(error)}; the folder is whole, "
            f"hf upload {repo_id} {folder} sends it"
        ) from error
    return address


def from_hub(repo_id: str | Path, *, revision: str | None = None) -> Path:
    """Download a shared run, and return its folder, for `load_run` and for every command.

    Args:
        repo_id: "user/name", or a folder that `save_pretrained` wrote, which is used as it is.
        revision: A branch, tag or commit.

    Raises:
        DataError: there is none, or the Hub cannot be reached.
        RunError: its network is a function, which would be code to run.
    """
    folder = Path(repo_id)
    if not folder.is_dir():
        hub = require("huggingface_hub", extra="hub")
        try:
            found = hub.snapshot_download(
                repo_id, revision=revision, allow_patterns=[CARD, RECORD, WEIGHTS]
            )
        except Exception as error:
            raise DataError(f"cannot get {repo_id} from the Hub: {_line(error)}") from error
        folder = Path(found)
    recipe = read_recipe(folder)
    if is_code(recipe.model):
        raise RunError(
            f"{repo_id} needs the code {recipe.model}, which is not in it; get it from the authors "
            f"and load {folder}"
        )
    return folder


def empty_folder(folder: str | Path) -> Path:
    """Return a folder to write to, which may not hold files.

    Raises:
        RunError: it does, or is a file.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not an empty folder; give another")
    return folder


def is_code(reference: str) -> bool:
    """Whether a reference names a function or a file on one machine."""
    prefix, colon, _ = reference.partition(":")
    return bool(colon) and prefix not in ("timm", "torchvision", "smp", "acs", "monai")


def public_record(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record without the names of cases and places on the machine that trained."""
    recipe = record["recipe"]
    names = "fresh_weights", "weights", "sessions"
    kept: dict[str, Any] = {key: record[key] for key in names if key in record}
    if kept.get("weights"):
        kept["weights"] = _without_places(kept["weights"])
    named: dict[str, Any] = {
        k: Path(recipe[k]).name
        for k in ("data", "labels", "start_from", "teacher")
        if recipe.get(k)
    }
    places = "weights", "weights_part", "format", "cache"
    start: dict[str, Any] = dict.fromkeys(name for name in places if name in recipe)
    return {"recipe": recipe | named | start, **kept}


def scores_of(run: Path) -> dict[str, Any]:
    """Return the scores of the best epoch; empty if they are not there."""
    path = run / "metrics.json"
    if not path.is_file():
        return {}
    found = json.loads(path.read_text())
    best = found["epochs"][found["best_epoch"] - 1]
    return {k: v for k, v in best.items() if k.startswith("val_") and v is not None}


def card_of(
    model: nn.Module,
    recipe: Recipe,
    record: dict[str, Any],
    scores: dict[str, Any],
    license: str,
    name: str,
    use: Sequence[str] | None = None,
) -> str:
    """Return the card of a run in Markdown.

    Args:
        use: Lines that show how it is used; by default those of a shared run, and the header that
            the Hub reads.
    """
    size = " x ".join(map(str, (recipe.in_channels, *recipe.input_size)))
    params = sum(p.numel() for p in model.parameters())
    lines = [] if use is not None else ["---", *_header(recipe, license), "---", ""]
    lines += [
        f"# {name}",
        "",
        f"A network for {recipe.task.replace('_', ' ')}, {params:,} parameters, trained with "
        f"lean3d by the recipe `{recipe.name}`.",
        "",
        "| | |",
        "|---|---|",
        f"| network | `{recipe.model}` |",
        f"| conversion | {recipe.convert or 'none'} |",
        f"| input | {size} |",
        f"| classes | {', '.join(recipe.names)} |",
        f"| started from | {_start(recipe, record)} |",
        f"| license | {license} |",
    ]
    lines += ["", "## Use", "", *(USE if use is None else use)]
    if scores:
        lines += ["", "## Validation", "", "Scores on the cases held out:"]
        lines += ["", "| | |", "|---|---|"]
        lines += [f"| {key.removeprefix('val_')} | {value:.4f} |" for key, value in scores.items()]
    lines += ["", "## Where it was trained", "", "| | |", "|---|---|"]
    session = (record.get("sessions") or [{}])[-1]
    lines += [f"| {key} | {session[key]} |" for key in KEPT if session.get(key)]
    if (conversion := getattr(model, "conversion", None)) is not None:
        lines += ["", "## The conversion", "", "```text", str(conversion), "```"]
    return "\n".join(lines) + "\n"


def _header(recipe: Recipe, license: str) -> list[str]:
    """Return what the Hub reads of a card; its names of licenses are in small letters."""
    hub = require("huggingface_hub", extra="hub")
    about = hub.ModelCardData(
        license=license.lower(),
        library_name="lean3d",
        tags=TAGS,
        pipeline_tag=PIPELINES.get(recipe.task),
    )
    return str(about.to_yaml()).strip().splitlines()


def _start(recipe: Recipe, record: dict[str, Any]) -> str:
    """Say what the weights were before the training."""
    if record.get("weights"):
        return _without_places(record["weights"])
    if recipe.start_from:
        return f"the run {Path(recipe.start_from).name}"
    return "random weights"


def _without_places(text: str) -> str:
    """Return a text with the names of files and folders, without where they lie."""
    return re.sub(r"(?<![^\s:])~?/(?:[^\s:]*/)?", "", text)


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
