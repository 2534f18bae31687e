"""Takes documents apart: the fenced blocks of one section, and what the text says they print."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its lines, and the indented lines right after it."""

    language: str
    code: str
    prints: str

    @property
    def file(self) -> str | None:
        """The file that a first line such as `// src/lib.rs` names."""
        first = self.code.split("\n", 1)[0]
        named = re.fullmatch(r"(?://|#) (\S+\.\w+)", first)
        return named[1] if named else None


def blocks(document: str, heading: str) -> list[Block]:
    """The blocks under a heading of a document, down to the next heading of any level."""
    text = (REPOSITORY / document).read_text()
    # A `#` in a fenced block is no heading.
    parts = re.split(r"^```(\w*)\n(.*?)^```$", text, flags=re.M | re.S)
    found: list[Block] = []
    inside = False
    for i in range(0, len(parts), 3):
        for title in re.findall(r"^#+ (.*)$", parts[i], flags=re.M):
            inside = title == heading
        if inside and i + 2 < len(parts):
            after = re.match(r"\n+((?:    .*\n)+)", parts[i + 3])
            prints = re.sub(r"^    ", "", after[1], flags=re.M) if after else ""
            found.append(Block(parts[i + 1], parts[i + 2], prints.strip()))
    assert found, f"{document} has no blocks under `{heading}`"
    return found
