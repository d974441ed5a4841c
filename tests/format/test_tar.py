"""The tar layout against the standard library and GNU tar."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.core.errors import FormatError
from shardkit.format.hashing import file_hash
from shardkit.format.tar import BLOCK, TarWriter, _header, scan, split_name

NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=150)


def archive(members: list[tuple[str, bytes]]) -> bytes:
    sink = io.BytesIO()
    writer = TarWriter(sink)
    for name, data in members:
        writer.add(name, data)
    writer.close()
    return sink.getvalue()


@given(st.dictionaries(NAMES, st.binary(max_size=2000), min_size=1, max_size=5))
def test_tarfile_reads_what_is_written_at_the_offsets_that_are_told(files: dict[str, bytes]) -> None:
    sink = io.BytesIO()
    writer = TarWriter(sink)
    placed = [writer.add(f"folder/{name}", data) for name, data in files.items()]
    writer.close()
    written = sink.getvalue()
    with tarfile.open(fileobj=io.BytesIO(written)) as tar:
        assert [(info.name, tar.extractfile(info).read()) for info in tar] == [
            (f"folder/{name}", data) for name, data in files.items()
        ]
    assert [written[member.offset : member.offset + member.size] for member in placed] == list(files.values())
    assert list(scan(io.BytesIO(written), where="x.tar")) == placed


@given(
    NAMES | st.text("ab/.-", min_size=95, max_size=105), st.integers(0, 100_000) | st.sampled_from([8**11 - 1, 8**11])
)
def test_headers_are_those_of_tarfile(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    assert _header(name, size) == info.tobuf(format=tarfile.PAX_FORMAT)


def test_bytes_depend_on_names_and_contents_alone() -> None:
    members = [("a.flac", b"one"), ("späte Aufnahme.json", b"{}"), ("x" * 120 + ".wav", b"long name")]
    assert archive(members) == archive(members)
    with tarfile.open(fileobj=io.BytesIO(archive(members))) as tar:
        assert {(info.mtime, info.uid, info.gid, info.mode, info.uname) for info in tar} == {(0, 0, 0, 0o644, "")}


def test_the_bytes_of_a_tar_are_frozen() -> None:
    """A change here changes every shard: it needs an entry in the changelog headed FORMAT."""
    members = [("a.flac", b"one"), ("späte Aufnahme.json", b"{}"), ("x" * 120 + ".wav", b"long name")]
    assert file_hash(archive(members)) == "xxh3_128:eb1a69159aa347f882f3d924fca26ddf"


def test_gnu_tar_lists_the_same_names(tmp_path: Path) -> None:
    names = ["a b.flac", "win/Apex Aleph.json", "y" * 140 + ".wav"]
    (tmp_path / "x.tar").write_bytes(archive([(name, b"data") for name in names]))
    listed = subprocess.run(["tar", "tf", tmp_path / "x.tar"], capture_output=True, text=True, check=True)
    assert listed.stdout.splitlines() == names
    assert listed.stderr == ""


@pytest.mark.parametrize("keep", [100, BLOCK, BLOCK + 100, 2 * BLOCK, 3 * BLOCK, 4 * BLOCK, 4 * BLOCK + 10])
def test_a_tar_cut_anywhere_is_refused_with_the_byte(keep: int) -> None:
    whole = archive([("a.flac", b"x" * 700), ("b.flac", b"y" * 10)])
    with pytest.raises(FormatError, match=r"shard\.tar: (cut off|not a whole)"):
        list(scan(io.BytesIO(whole[:keep]), where="shard.tar"))


def test_a_damaged_header_in_the_middle_is_found() -> None:
    members = [("a.flac", b"one"), ("b.flac", b"two"), ("c.flac", b"three")]
    whole = bytearray(archive(members))
    for position in range(2 * BLOCK, 3 * BLOCK, 17):  # the second header
        damaged = whole.copy()
        damaged[position] ^= 0x41
        with pytest.raises(FormatError, match=r"shard\.tar: (damaged: no tar header at byte 1,024|not a whole)"):
            list(scan(io.BytesIO(damaged), where="shard.tar"))


def test_a_compressed_tar_is_refused() -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.flac"))
    with pytest.raises(FormatError, match="compressed by gzip"):
        list(scan(io.BytesIO(sink.getvalue()), where="shard.tar"))


def test_an_empty_tar_has_no_members() -> None:
    assert list(scan(io.BytesIO(archive([])), where="x.tar")) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.flac", ("a", "flac")),
        ("dir.x/a b.vocals.flac", ("dir.x/a b", "vocals.flac")),
        ("README", None),
        ("dir/.hidden", None),
        ("name.", None),
    ],
)
def test_keys_follow_webdataset(name: str, expected: tuple[str, str] | None) -> None:
    assert split_name(name) == expected


@pytest.mark.parametrize(("kind", "name"), [("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz")])
def test_a_compressed_tar_is_refused_with_what_to_do(tmp_path: Path, kind: str, name: str) -> None:
    with tarfile.open(tmp_path / "x.tar", f"w:{kind}") as compressed:
        compressed.add(__file__, "a.py")
    with (tmp_path / "x.tar").open("rb") as file, pytest.raises(FormatError, match=f"compressed by {name}; decompress"):
        list(scan(file, where="x.tar"))


def test_a_member_in_parts_has_the_bytes_of_one_that_is_whole() -> None:
    data = bytes(range(256)) * 5
    whole, parts = io.BytesIO(), io.BytesIO()
    writers = TarWriter(whole), TarWriter(parts)
    assert writers[0].add("a.npy", data) == writers[1].add_parts("a.npy", len(data), [data[:300], b"", data[300:]])
    assert writers[0].add("b.json", b"{}") == writers[1].add_parts("b.json", 2, [b"{}"])
    assert whole.getvalue() == parts.getvalue()
    with pytest.raises(FormatError, match="'c' was said to have 5 bytes, 3 came"):
        writers[1].add_parts("c", 5, [b"abc"])
