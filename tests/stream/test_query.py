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
        ("None != lang and None is not n", "ac"),
        (" n == 2 ", "b"),
        ("True or n == 1", "abce"),
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
        ("lang > 3", r"these types can't be compared: string and 3 \(int\)"),
        ("n in 3", "'in' needs a list"),
        ("'e' in lang", "'in' needs a list on its right"),
        ("lang in labels", "'in' needs a list on its right"),
        ("n in [1, 'a']", "these types can't be compared: int64"),
        ("lang > None", "None goes with ==, !=, is and is not only"),
        ("None <= n", "None goes with"),
        ("None in labels", "None goes with"),
        ("lang in ['en', None]", "None goes with"),
        ("n + None > 1 or n == 1", r"'n \+ None': None goes with"),
        ("n is 3", "'is' is for None; write == or !="),
        ("labels == ['dog']", "lists are not compared; ask for one value with 'dog' in labels"),
        ("labels != 'dog'", "lists are not compared"),
        ("n == (1, 2)", "lists are not compared"),
        ("lang and n == 1", "'lang': not a condition; compare it"),
        ("not None", "not a condition; compare it"),
        ("lang = 'en'", "at character 6; write == to compare"),
        ("lang == 'en' && n == 1", "write and, or"),
        ("lang == 'en' AND n == 1", "in lower case"),
        ("n <> 1", "write != for"),
        ("lang like 'e%'", "write .startswith"),
        ("n between 1 and 3", "write 1 < duration_s <= 3"),
        ("", "nothing to meet"),
        ("n == 1\0", "null bytes"),
        ("n * 9223372036854775807 > 0", "overflow"),
        ("'a' in ['a']", "'in' needs a list on its right"),
        ("-'a' == lang", "not a condition"),
        ("n == 99999999999999999999", "not a condition|can't be compared"),
    ],
)
def test_what_is_no_condition_is_refused(condition: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        matching_rows(TABLE, condition)
