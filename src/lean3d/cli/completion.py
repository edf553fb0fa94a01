"""The script that completes commands, flags, recipes and models in bash and zsh."""

from collections.abc import Iterable
from dataclasses import is_dataclass
from importlib import import_module

from lean3d.cli.main import COMMANDS
from lean3d.cli.parse import flags
from lean3d.models import list_models
from lean3d.recipes import get_recipe, list_recipes

__all__ = ["completion"]

SCRIPT = """\
# lean3d --completion, for bash; zsh first needs: autoload -U +X bashcompinit && bashcompinit
_lean3d() {{
  local words="{commands}"
  if (( COMP_CWORD > 1 )); then
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=( $(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}") )
}}
complete -o default -F _lean3d lean3d
"""


def completion() -> str:
    """Return the script; where it has no word, the shell completes file names."""
    cases = [f'      {name}) words="{" ".join(_words(name))}" ;;' for name in COMMANDS]
    return SCRIPT.format(commands=" ".join(["--json", *COMMANDS]), cases="\n".join(cases))


def _words(command: str) -> Iterable[str]:
    module = import_module(f"lean3d.cli.{command}")
    own = [kind for kind in vars(module).values() if _is_own(kind, module.__name__)]
    words = {word: None for kind in own for word in flags(kind)}
    if command == "train":
        recipes = list_recipes()
        words |= {word: None for name in recipes for word in flags(get_recipe(name))}
        words |= dict.fromkeys(recipes)
    elif "--model" in words:
        words |= dict.fromkeys(list_models())
    # the model and the like have no flag; their place says what they are
    return [word for word in words if word not in ("--model", "--file", "--image", "--sources")]


def _is_own(kind: object, module: str) -> bool:
    return isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == module
