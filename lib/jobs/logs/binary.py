"""Whether bytes are a log at all."""

# What shows nothing on a terminal and moves nothing there.
_CONTROL_BYTES = bytes({*range(32), 127} - set(b"\a\b\t\n\v\f\r\x1b"))


def is_binary(sample: bytes) -> bool:
    """Whether bytes are no text: a third or more of them are none that a terminal shows.

    Zeros do not count: a machine that loses power leaves them at the end of a log.
    """
    sample = sample.replace(b"\0", b"")
    text = sample.translate(None, _CONTROL_BYTES).decode("utf-8", "ignore")
    return len(text.encode()) < len(sample) * 2 / 3
