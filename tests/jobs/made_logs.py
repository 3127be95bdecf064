"""Logs in memory for tests."""

_BAR = "\rsteps:  21%|██        | {0}/90000 [00:03<00:11,  1.62it/s, avr_loss=0.{1:03}]"
_NESTED = "\n\r  {0}%|███       | 3/8 [00:00<00:00,  3.17it/s]\x1b[A"


class RecordedReads:
    """A log in memory that counts what was read of it."""

    def __init__(self, data: bytes = b"", at_once: int = 1 << 30) -> None:
        self.data = data
        self.read_bytes = 0
        self._at_once = at_once

    def __call__(self, offset: int, limit: int) -> tuple[bytes, int]:
        data = self.data[offset : offset + min(limit, self._at_once)]
        self.read_bytes += len(data)
        return data, len(self.data)


def many(pattern: str, count: int) -> bytes:
    return "".join(pattern.format(number, number % 1000) for number in range(count)).encode()


def big_logs() -> dict[str, bytes]:
    lines = many("2026-11-23 15:53:06 INFO     line {0} of an ordinary log  x.py:{1}\n", 50)
    coloured = many(
        "\x1b[2;36m{0}\x1b[0m \x1b[34mINFO\x1b[0m text \x1b]8;;file:///x\x1b\\x.py\x1b]8;;\x1b\\ {1}\n", 300
    )
    return {
        "lines": lines * 300,
        "bars and lines": (many(_BAR, 300) + b"\n" + lines) * 30,
        "one endless bar at the end": lines * 20 + many(_BAR, 9_000),
        "nested bars": (lines + many(_NESTED, 400) + b"\n\n") * 25,
        "coloured lines": coloured * 40,
        "carriage returns": lines.replace(b"\n", b"\r\n") * 300,
    }


def refuse(offset: int, limit: int) -> tuple[bytes, int]:
    """A log that cannot be read."""
    raise ConnectionError("down")
