"""Hook of the build: the description of the package is README.md with links that work on a package index, too."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_PLACE = re.compile(r"(?P<start>(?P<picture>!?)\[[^\]]*\]\()(?!\w+:)(?P<place>[^)\s]+)\)")


class Description(MetadataHookInterface):
    """Fills in ``readme`` of the project's metadata."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Read README.md, and lead its links to the project's home page."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": with_whole_links(text, metadata["urls"]["Homepage"]),
        }


def with_whole_links(text: str, home: str) -> str:
    """Replace places in the repository by URLs: of the page for headings, of raw files for pictures."""

    def whole(link: re.Match[str]) -> str:
        place = link["place"]
        folder = "" if place.startswith("#") else "/raw/main/" if link["picture"] else "/blob/main/"
        return f"{link['start']}{home}{folder}{place})"

    return _PLACE.sub(whole, text)
