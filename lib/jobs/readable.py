"""Characters that no text of ours may hold: what cannot be stored, and what makes a name look like another."""

import unicodedata

# Marks and overrides of the writing direction: "gpj.exe" shows as "exe.jpg" with one of them before it.
TURNING = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)))
_LINES = frozenset("\t\n\r")


def character_problem(text: str, what: str, *, is_line: bool = False) -> str:
    """A sentence about the first character that cannot be stored or shown in a text; empty when all can.

    Args:
        what: How the sentence begins, such as ``The name``.
        is_line: Whether the text is one line.
    """
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs":
            return f"{what} has half a character that cannot be stored. Type it again."
        if category == "Cc" and (is_line or character not in _LINES):
            return f"{what} has a control character (code {ord(character)}). Remove it."
    return ""


def file_name_problem(name: str) -> str:
    """Why a text cannot be a file's name: what cannot be stored, and what makes it look like another name."""
    if any(character in TURNING for character in name):
        return "The name has an invisible character that turns the writing direction. Type it again."
    return character_problem(name, "The name", is_line=True)
