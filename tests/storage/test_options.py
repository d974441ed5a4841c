"""Storage options as typed."""

import pytest

from shardkit.core.errors import InputError
from shardkit.storage.options import parse_options


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("12", 12),
        ("-3", -3),
        ("1.5", 1.5),
        ("007", "007"),
        ("1e5", "1e5"),
        ("", ""),
        ("a=b=c", "a=b=c"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("True", "True"),
    ],
)
def test_values_are_read_as_what_they_look_like(text: str, value: object) -> None:
    assert parse_options([f"name={text}"]) == {"name": value}


def test_credentials_stay_text() -> None:
    assert parse_options(["key=123", "secret=007", "token=true"]) == {"key": "123", "secret": "007", "token": "true"}


def test_dots_nest() -> None:
    options = parse_options(["a.b.c=1", "a.b.d=2", "a.e=x", "f=y"])
    assert options == {"a": {"b": {"c": 1, "d": 2}, "e": "x"}, "f": "y"}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["anon=true", "s3cret"], "number 2 is not key=value"),
        (["=s3cret"], "number 1 is not key=value"),
        (["a..b=s3cret"], "number 1 is not key=value"),
        (["a=s3cret", "a=other"], "'a' is given twice"),
        (["a=s3cret", "a.b=1"], "'a' is a value, so 'a.b' can't be set"),
        (["a.b=s3cret", "a=1"], "'a' is given twice"),
    ],
)
def test_malformed_options_are_refused_without_showing_values(items: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_options(items)
    assert "s3cret" not in str(caught.value)
