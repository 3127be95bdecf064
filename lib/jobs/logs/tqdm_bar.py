"""Frames of tqdm bars in the raw bytes of a log, and which of them are the training.

A frame starts at a carriage return or a line start and has no end of its own; log text can follow
directly. Formats: sd-scripts, diffusers, ai-toolkit, OneTrainer, SimpleTuner.
"""

import re
from enum import Enum
from typing import NamedTuple

# description: percent%|bar| done/total [elapsed<left, rate, postfix]
# Counts and blanks are bounded: a log may hold anything.
_FRAME = re.compile(
    rb"(?P<description>[^|]{0,200}?):? {1,4}\d{1,3}%\|[^|]*\| {0,4}(?P<done>\d{1,12})/(?P<total>\d{1,12})"
    rb" \[[\d:?]+<[^,\]]*, {1,8}(?P<rate>[^,\]]+)(?P<postfix>[^\]]*)\]"
)
_WRAPPER = re.compile(rb"(?:\[[\w.:/ -]{1,40}\]:? ?|[\w.-]{1,40} +\| )")
# Such as a launcher's and a rank's before one line.
_MOST_WRAPPERS = 3
_ESCAPE = re.compile(rb"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]?|\x1b\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)")
_SIMPLETUNER = re.compile(rb"Epoch (\d{1,9})/(\d{1,9}),? Steps\Z")
_LOSS = re.compile(rb", *(?:avr_loss|step_loss|train_loss|loss)=([^,\s]+)")
_AI_TOOLKIT_LOSS = re.compile(rb", *lr: \S+ loss: (\S+)")


class BarKind(Enum):
    """What a bar counts."""

    STEPS = "steps of the whole training"
    EPOCH_STEPS = "steps of this epoch"
    EPOCHS = "epochs"
    OTHER = "something else"


_KINDS = {
    b"steps": BarKind.STEPS,
    b"Steps": BarKind.STEPS,
    b"step": BarKind.EPOCH_STEPS,
    b"epoch": BarKind.EPOCHS,
}
DESCRIBED_BARS = frozenset(_KINDS)
# Bars of the trainers' samplers: ai-toolkit, OneTrainer.
SAMPLING_BARS = frozenset({b"Generating Images", b"sampling"})


class BarFrame(NamedTuple):
    """One repaint of a bar; a tuple, because there are very many of them.

    Attributes:
        loss: The loss as printed, None when there is none.
        rate: The rate as printed: ``1.93it/s``, ``21.47s/it`` or ``?it/s``.
        epoch, epochs: Where the description tells.
        rest: Log text glued to the frame.
    """

    kind: BarKind
    description: bytes
    done: int
    total: int
    loss: bytes | None
    rate: bytes
    rest: bytes
    epoch: int | None = None
    epochs: int | None = None

    @property
    def seconds_per_step(self) -> float | None:
        """The printed rate in seconds, None for ``?it/s``."""
        number, unit = self.rate[:-4], self.rate[-4:]
        try:
            value = float(number)
        except ValueError:
            return None
        if unit == b"it/s":
            return 1 / value if value > 0 else None
        return value if unit == b"s/it" else None


def without_escapes(segment: bytes) -> bytes:
    """The bytes without colours, moves and links."""
    return _ESCAPE.sub(b"", segment) if b"\x1b" in segment else segment


def parse_frame(segment: bytes) -> BarFrame | None:
    """The frame a segment between carriage returns or line feeds begins with; escapes are gone already."""
    if b"%|" not in segment:
        return None
    match = _FRAME.match(segment)
    for _ in range(_MOST_WRAPPERS):
        wrapper = _WRAPPER.match(segment) if match is None else None
        if wrapper is None:
            break
        segment = segment[wrapper.end() :]
        match = _FRAME.match(segment)
    if match is None:
        return None
    description, done, total, rate, postfix = match.groups()
    loss = _LOSS.search(postfix) if postfix else None
    kind = _KINDS.get(description, BarKind.OTHER)
    frame = BarFrame(kind, description, int(done), int(total), loss[1] if loss else None, rate, segment[match.end() :])
    return frame if kind is not BarKind.OTHER else _recognised(frame, postfix)


def _recognised(frame: BarFrame, postfix: bytes) -> BarFrame:
    """The frame with its kind, where the description alone does not tell."""
    if named := _AI_TOOLKIT_LOSS.match(postfix):
        return frame._replace(kind=BarKind.STEPS, loss=named[1])
    if of_epoch := _SIMPLETUNER.match(frame.description):
        return frame._replace(kind=BarKind.STEPS, epoch=int(of_epoch[1]), epochs=int(of_epoch[2]))
    wrapper = _WRAPPER.match(frame.description)
    kind = _KINDS.get(frame.description[wrapper.end() :]) if wrapper else None
    return frame._replace(kind=kind) if kind else frame
