from hypothesis import given
from hypothesis import strategies as st

from lib.jobs.logs.segments import TellingSegments, blocks_of

TEXTS = st.lists(st.sampled_from([b"", b"x", b"50%", b"a step", b"loss loss", b"steps", b"los", b"%"]))


@given(texts=TEXTS)
def test_the_telling_segments_are_those_with_a_word_in_order(texts: list[bytes]) -> None:
    block = b"".join(text + b"\r" for text in texts)
    segments = TellingSegments(block, b"%", (b"step", b"loss"))
    found = []
    while (segment := segments.telling()) is not None:
        found.append(segment)
    assert found == [text for text in texts if b"%" in text or b"step" in text or b"loss" in text]


@given(texts=TEXTS, told=st.lists(st.booleans()))
def test_what_follows_a_segment_can_be_asked_for(texts: list[bytes], told: list[bool]) -> None:
    segments, left = TellingSegments(b"".join(text + b"\r" for text in texts), b"%", (b"step",)), list(texts)
    for wants_telling in told:
        if wants_telling:
            while left and b"%" not in left[0] and b"step" not in left[0]:
                left.pop(0)
            if not left:
                assert segments.telling() is None
                return
            assert segments.telling() == left.pop(0)
        else:
            assert segments.following() == (left.pop(0) if left else None)


@given(texts=st.lists(st.binary(max_size=9).map(lambda text: text.replace(b"\r", b""))), most=st.integers(1, 12))
def test_blocks_cut_only_segments_that_are_too_long(texts: list[bytes], most: int) -> None:
    data = b"".join(text + b"\r" for text in texts)
    segments = [each for block in blocks_of(data, most) for each in block[:-1].split(b"\r")]
    assert segments == [text if len(text) < most else text[:most] for text in texts]
