"""Locations: what a text names, how names join, and what they never show."""

import os
from pathlib import Path

import pytest

from shardkit.core.errors import InputError
from shardkit.storage.location import locate


@pytest.mark.parametrize(
    "text", ["/data/a b#c%20?d.wav", "file:///data/a b#c%20?d.wav", "file://localhost/data/a b#c%20?d.wav"]
)
def test_local_names_are_taken_literally(text: str) -> None:
    location = locate(text)
    assert location.is_local
    assert location.local_path == Path("/data/a b#c%20?d.wav")
    assert location.name == "a b#c%20?d.wav"
    assert str(location) == location.url == "/data/a b#c%20?d.wav"


def test_home_and_relative_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.chdir(tmp_path)
    assert locate("~/speech").local_path == Path("/home/someone/speech")
    assert locate("speech/~").local_path == tmp_path / "speech" / "~"
    assert locate(Path("speech")) == locate("speech/") == locate(f"{tmp_path}/x/../speech")


@pytest.mark.parametrize(
    ("base", "name", "joined"),
    [
        ("/data", "train/000000.tar", "/data/train/000000.tar"),
        ("/", "a", "/a"),
        ("/data/set", "../other/./x", "/data/other/x"),
        ("s3://bucket", "a b/#?%.wav", "s3://bucket/a b/#?%.wav"),
        ("S3://bucket/x/", "y/", "s3://bucket/x/y"),
        ("s3://bucket/x", "../y", "s3://bucket/y"),
        ("s3://bucket/x", "y//z", "s3://bucket/x/y//z"),
        ("memory://", "x", "memory://x"),
        ("http://host/x", "a b#c.tar", "http://host/x/a%20b%23c.tar"),
        ("https://host/x?sig=1", "y", "https://host/x/y?sig=1"),
    ],
)
def test_joining(base: str, name: str, joined: str) -> None:
    assert (locate(base) / name).url == joined


@pytest.mark.parametrize(
    ("base", "name"),
    [("/data", ""), ("/data", "/etc"), ("s3://b/x", "../../y"), ("/", "../x"), ("/data", "a/../b"), ("s3://b", "..")],
)
def test_names_that_lead_elsewhere_are_refused(base: str, name: str) -> None:
    with pytest.raises(InputError, match=r"relative path|leads out|middle"):
        locate(base) / name


@pytest.mark.parametrize(
    ("url", "name", "parent"),
    [
        ("/a/b.wav", "b.wav", "/a"),
        ("/", "", "/"),
        ("s3://bucket/a/b?c.wav", "b?c.wav", "s3://bucket/a"),
        ("s3://bucket", "bucket", "s3://bucket"),
        ("http://host/a%20b.tar?sig=1", "a b.tar", "http://host?sig=1"),
    ],
)
def test_name_and_parent(url: str, name: str, parent: str) -> None:
    assert locate(url).name == name
    assert locate(url).parent.url == parent


def test_what_is_shown_holds_no_secret() -> None:
    location = locate(
        "https://user:s3cret@host/x.tar?X-Amz-Signature=s3cret", {"client_kwargs": {"password": "s3cret"}}
    )
    assert str(location) == "https://host/x.tar?…"
    assert "s3cret" not in repr(location) + str(location.parent) + repr(location / "y")
    assert location.url == "https://user:s3cret@host/x.tar?X-Amz-Signature=s3cret"


def test_options_make_part_of_the_value() -> None:
    one = locate("s3://b/x", {"anon": True, "client_kwargs": {"region_name": "eu-west-1"}})
    same = locate("s3://b/x", {"client_kwargs": {"region_name": "eu-west-1"}, "anon": True})
    assert one == same
    assert one != locate("s3://b/x")
    assert len({one, same, locate("s3://b/x")}) == 2
    assert (one / "y").options == one.parent.options == {"anon": True, "client_kwargs": {"region_name": "eu-west-1"}}
    one.options["anon"] = False  # a copy
    assert one == same


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s4://bucket/x", "s4://: unknown protocol; known are .*s3, gs"),
        ("simplecache::s3://bucket/x", "chained URLs"),
        ("s3://", "names no bucket"),
        ("file://host/x", "write file:///folder/name"),
        ("", "names no file"),
        ("a\0b", "names no file"),
    ],
)
def test_what_names_nothing_is_refused(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        locate(url)


def test_a_missing_package_is_named() -> None:
    with pytest.raises(InputError, match=r"wandb://: its package is not installed: .*[Ii]nstall wandbfs"):
        locate("wandb://entity/project")


def test_options_must_be_plain_data() -> None:
    with pytest.raises(InputError, match="plain data.*session: object"):
        locate("s3://bucket/x", {"session": object()})


def test_a_remote_location_has_no_local_path() -> None:
    with pytest.raises(InputError, match="not on this machine"):
        _ = locate("s3://bucket/x").local_path


def test_names_that_are_no_text_go_round(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    assert (locate(tmp_path) / name).local_path == tmp_path / name
