"""What an answer to a ranged read says."""


def whole_size(content_range: str | None, content_length: object) -> int:
    """The size of a whole file in bytes, from the headers of an answer to a ranged read; 0 when they do not tell."""
    _, slash, total = (content_range or "").partition("/")
    said = total if slash else str(content_length or "")
    return int(said) if said.isdecimal() else 0
