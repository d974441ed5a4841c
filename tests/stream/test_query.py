"""``where`` against the same condition evaluated by Python, row by row."""

import pyarrow as pa
import pytest

from shardkit.core.errors import InputError
from shardkit.stream.query import matching_rows

ROWS = [
    {"key": "a", "lang": "en", "duration_s": 1.0, "labels": ["dog", "bark"], "n": 1},
    {"key": "b", "lang": None, "duration_s": 3.0, "labels": [], "n": 2},
    {"key": "c/d", "lang": "de", "duration_s": 2.0, "labels": ["cat"], "n": 3},
    {"key": "e", "lang": "en", "duration_s": 4.5, "labels": ["dog"], "n": None},
]
TABLE = pa.Table.from_pylist(ROWS)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("duration_s >= 2", "bce"),
        ("duration_s >= 2 and lang == 'en'", "e"),
        ("not (lang == 'en')", "c"),
        ("lang != 'en'", "c"),
        ("lang in ['en', 'de'] and n < 3", "a"),
        ("lang not in ['de']", "ae"),
        ("lang is None or n is None", "be"),
        ("lang is not None", "ace"),
        ("'dog' in labels", "ae"),
        ("'dog' not in labels", "bc"),
        ("1 < duration_s <= 3", "bc"),
        ("duration_s * 2 - n > 2", "b"),
        ("key.startswith('c/')", "c"),
        ("n == -1 or duration_s == 4.5", "e"),
        ("True", "abce"),
        ("n / 2 > 1.2", "c"),
        ("None == lang", "b"),
    ],
)
def test_conditions(condition: str, expected: str) -> None:
    found = "".join(row["key"][0] for row, hit in zip(ROWS, matching_rows(TABLE, condition), strict=True) if hit)
    assert found == expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("duraton_s > 1", "no column 'duraton_s'; did you mean 'duration_s'"),
        ("duration_s >", "invalid syntax"),
        ("duration_s", "not a condition"),
        ("__import__('os').system('true')", "is not allowed; use columns"),
        ("(lambda: 1)()", "is not allowed"),
        ("[n for n in labels]", "is not allowed"),
        ("lang > 3", "these types can't be compared"),
        ("n in 3", "'in' needs a list"),
        ("n * 9223372036854775807 > 0", "overflow"),
        ("'a' in ['a']", "not a condition"),
        ("-'a' == lang", "not a condition"),
        ("n == 99999999999999999999", "not a condition|can't be compared"),
    ],
)
def test_what_is_no_condition_is_refused(condition: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        matching_rows(TABLE, condition)
