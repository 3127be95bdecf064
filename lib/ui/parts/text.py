"""Text from outside on a page. Streamlit renders labels, titles and captions as Markdown: escape it here."""

import re
import unicodedata
from collections.abc import Sequence

from lib.jobs.readable import TURNING

MAX_LINE_CHARS = 2_000
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&^=@/])")
_BIDI = str.maketrans(dict.fromkeys(TURNING))
_UNSEEN = ("Cc", "Cs")
# Streamlit replaces these after Markdown has removed the backslashes, so escaping does not help: bare links, e-mail
# addresses, :material_icons:, :emoji: and arrows. A zero-width character in between does.
_AFTER_MARKDOWN = re.compile(
    r"""(?:https?(?=://) | www(?=\.) | [-.\w+](?=@[-\w]+\.)   # a link or an address
        | :(?!\d\d:)(?=[-+\w]+:)                             # an icon or an emoji, but not 12:30:45
        | (?<!\S)[<>~-](?=[->=]{1,2}(?!\S)))                 # an arrow""",
    re.IGNORECASE | re.VERBOSE,
)
_WORD_JOINER = "\u2060"


def plain(text: object, *, limit: int = 0) -> str:
    """The text on one line without control or direction marks; with ``limit`` cut to that many characters."""
    kept = (char for char in str(text).translate(_BIDI) if char.isspace() or unicodedata.category(char) not in _UNSEEN)
    line = " ".join("".join(kept).split())
    return line[: limit - 1].rstrip() + "…" if limit and len(line) > limit else line


def escaped(text: object, *, limit: int = 0) -> str:
    """The text as Markdown that renders as plain characters: no markup, links, images, icons or requests."""
    harmless = _AFTER_MARKDOWN.sub(lambda found: found[0] + _WORD_JOINER, plain(text, limit=limit))
    return _MARKDOWN.sub(r"\\\1", harmless)


def shown_text(lines: Sequence[str]) -> str:
    """Log lines as one text; an overlong line is cut with a note."""
    return "\n".join(_shown_line(line) for line in lines)


def _shown_line(line: str) -> str:
    if len(line) <= MAX_LINE_CHARS:
        return line
    return f"{line[:MAX_LINE_CHARS]} … ({len(line) - MAX_LINE_CHARS:,} more characters in the full log)"
