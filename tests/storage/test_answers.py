"""Where a range stands in an answer: the pure decision."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.storage.answers import Part, WrongAnswerError, find_part


@pytest.mark.parametrize("status", [200, 206])
def test_content_range_is_believed_under_either_status(status: int) -> None:
    assert find_part(status, "bytes 10-19/100", 10, 10, 20) == Part(0, 10, True, 100)
    assert find_part(status, "bytes 90-99/100", 10, 90, 110) == Part(0, 10, True, 100)
    assert find_part(status, "Bytes 10-19/*", None, 10, 20) == Part(0, 10, True, None)


@pytest.mark.parametrize(
    ("content_range", "length"),
    [
        ("bytes 11-20/100", 10),  # other bytes
        ("bytes 10-18/100", 9),  # fewer, though there are more
        ("bytes 10-20/100", 11),  # more
        ("bytes 10-19/100", 9),  # contradicts itself
        ("bytes */100", 10),
        ("items 10-19/100", 10),
        ("nonsense", 10),
    ],
)
@pytest.mark.parametrize("status", [200, 206])
def test_other_ranges_are_wrong_answers(status: int, content_range: str, length: int) -> None:
    with pytest.raises(WrongAnswerError):
        find_part(status, content_range, length, 10, 20)


def test_without_content_range_the_length_speaks() -> None:
    assert find_part(206, None, 10, 10, 20) == Part(0, 10, True, None)
    assert find_part(206, None, 7, 10, 20) == Part(0, 7, True, None)  # the end of the file, perhaps
    assert find_part(206, None, None, 10, 20) == Part(0, 10, False, None)
    with pytest.raises(WrongAnswerError, match="asked for bytes 10 to 20, was sent 100 bytes"):
        find_part(206, None, 100, 10, 20)


def test_past_the_end_is_empty_and_may_tell_the_size() -> None:
    assert find_part(416, "bytes */100", 0, 500, 600) == Part(0, 0, False, 100)
    assert find_part(416, None, 117, 500, 600) == Part(0, 0, False, None)


@pytest.mark.parametrize("status", [204, 301, 307, 400, 403, 404, 503])
def test_other_statuses_are_for_others_to_judge(status: int) -> None:
    assert find_part(status, None, 10, 10, 20) is None


@given(size=st.integers(0, 300), start=st.integers(0, 300), num_bytes=st.integers(1, 300), told=st.booleans())
def test_slice_of_a_whole_answer_is_the_range(size: int, start: int, num_bytes: int, told: bool) -> None:
    body = bytes(number % 251 for number in range(size))
    part = find_part(200, None, size if told else None, start, start + num_bytes)
    assert part is not None
    assert part.whole
    assert body[part.skip :][: part.take] == body[start : start + num_bytes]
    assert part.total == (size if told else None)
