"""A hook of mkdocs (mkdocs.yml): what lies beside docs/ is not on the site.

Links to it lead into the repository where REPOSITORY_URL names it (https://…/blob/main), else they become the path.
"""

from __future__ import annotations

import os
import re
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)\s]+)\)")


def on_page_markdown(markdown: str, **_more: Any) -> str:
    repository = os.environ.get("REPOSITORY_URL", "").rstrip("/")
    if repository:
        return OUTSIDE.sub(rf"[\1]({repository}/\2)", markdown)
    return OUTSIDE.sub(lambda link: f"{link[1]} (`{link[2]}`)" if link[1] != link[2] else f"`{link[2]}`", markdown)
