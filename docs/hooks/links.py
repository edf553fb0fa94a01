"""Links out of docs/ lead to the repository: its examples and results are no pages of the site."""

import re
from typing import Any

OUTWARDS = re.compile(r"\]\((?:\.\./)+([^)\s]+)\)")


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    return OUTWARDS.sub(rf"]({config.repo_url}/blob/main/\1)", markdown)
