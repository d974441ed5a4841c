"""Datasets by strangers: what they may name, how large they may get, and what of one's own they never see."""

import io
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import shardkit as sk
from shardkit.audio.options import TranscodeOptions
from shardkit.audio.transcode import transcode
from shardkit.cli import main
from shardkit.cli.main import _line, app
from shardkit.core.errors import AudioError, FormatError, InputError, ShardkitError, StorageError
from shardkit.core.secrets import without_secrets
from shardkit.format.arrays import read_array
from shardkit.format.parquet import read_parquet
from shardkit.format.yamltext import parse_yaml
from shardkit.pack.jsontext import parse_json
from shardkit.report.layout import _file_name
from shardkit.storage.location import locate
from shardkit.storage.reference import resolve
from shardkit.storage.store import read_bytes
from shardkit.stream.config import load_config
from tools.fuzz import seeds
from tools.fuzz.mend import flac_of_silence
from tools.fuzz.mutate import nested
from tools.fuzz.readers import _Copy

SECRET = "s3cret-7f3a"  # noqa: S105


@pytest.mark.parametrize(
    ("folder", "reference"),
    [
        ("s3://bucket/set", "file:///etc/passwd"),
        ("http://example.org/set", "FILE:///etc/passwd"),
        ("memory://set", "local:///etc/passwd"),
        ("/data/set", "http://169.254.169.254/latest/meta-data/"),
        ("s3://bucket/set", "http://2852039166/latest"),  # the same address
        ("s3://bucket/set", "http://[::ffff:169.254.169.254]/"),
        ("s3://bucket/set", "http://metadata.google.internal/x"),
        ("http://example.org/set", "http://127.0.0.1:8080/x"),
        ("http://example.org/set", "http://localhost/x"),
        ("http://example.org/set", "http://192.168.1.1/x"),
        ("https://example.org/set", "http://0x7f.1/x"),
    ],
)
def test_where_a_manifest_may_not_lead(folder: str, reference: str) -> None:
    with pytest.raises(InputError, match=r"local path|link-local|own network"):
        resolve(locate(folder), reference)


@pytest.mark.parametrize(
    ("folder", "reference"),
    [
        ("/data/set", "/other/a.tar"),
        ("/data/set", "http://127.0.0.1:8080/a.tar"),
        ("http://127.0.0.1:1/set", "http://127.0.0.1:2/a.tar"),
        ("http://example.org/set", "https://mirror.example.com/a.tar"),
        ("s3://bucket/set", "http://10.0.0.5:9000/a.tar"),
    ],
)
def test_where_a_manifest_may_lead_without_options(folder: str, reference: str) -> None:
    found = resolve(locate(folder, None if folder.startswith("/") else {"headers": {"X-Key": SECRET}}), reference)
    assert SECRET not in found.options_json


@pytest.fixture
def two_hosts() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that redirects to another one, and the headers that this one was sent."""
    seen: list[dict[str, str]] = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(dict(self.headers))
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"abc")

        def log_message(self, *_: object) -> None:
            pass

    other = ThreadingHTTPServer(("127.0.0.1", 0), Other)

    class First(Other):
        def do_GET(self) -> None:
            target = "169.254.169.254" if self.path == "/metadata" else f"localhost:{other.server_port}"
            self.send_response(302)
            self.send_header("Location", f"http://{target}/x")
            self.send_header("Content-Length", "0")
            self.end_headers()

    first = ThreadingHTTPServer(("127.0.0.1", 0), First)
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in (first, other)]
    for thread in threads:
        thread.start()
    yield f"127.0.0.1:{first.server_port}", seen
    for server, thread in zip((first, other), threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    "headers", [{"headers": {"X-Key": SECRET}}, {"client_kwargs": {"headers": {"Cookie": SECRET}}}]
)
def test_a_redirect_shows_no_headers_to_another_host(two_hosts, headers) -> None:
    host, seen = two_hosts
    with pytest.raises(StorageError, match="redirects to localhost, which must not see") as caught:
        read_bytes(locate(f"http://{host}/a", headers))
    assert not seen
    assert SECRET not in str(caught.value)


def test_a_redirect_without_secrets_is_followed_but_not_to_where_clouds_keep_credentials(two_hosts) -> None:
    host, seen = two_hosts
    assert read_bytes(locate(f"http://user:{SECRET}@{host}/a")) == b"abc"
    assert SECRET not in str(seen)
    assert "Authorization" not in seen[0]
    with pytest.raises(StorageError, match="link-local"):
        read_bytes(locate(f"http://{host}/metadata"))


def test_a_flac_of_some_kilobytes_that_decodes_to_hours_is_limited() -> None:
    bomb = flac_of_silence(400, channels=2)
    assert len(bomb) < 10_000
    with pytest.raises(AudioError, match=r"x: it decodes to 210 MB or more, 100 MB are the most.*--max-decoded"):
        transcode(bomb, TranscodeOptions(codec="keep", max_decoded_bytes=100_000_000), name="x")


def test_lengths_that_an_index_claims_take_no_memory(tmp_path) -> None:
    sink = io.BytesIO()
    np.lib.format.write_array_header_1_0(sink, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with pytest.raises(FormatError, match="shape"):
        read_array(sink.getvalue() + bytes(100))


def test_a_parquet_dictionary_bomb_is_counted_as_it_comes() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), pa.array(["x" * 10_000]))
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": column}), sink, store_schema=False)
    assert len(sink.getvalue()) < 20_000
    with pytest.raises(ValueError, match=r"decode to more than 50 MB"):
        read_parquet(sink.getvalue(), max_bytes=50_000_000)


def test_aliases_and_nesting_are_counted_before_anything_is_made(tmp_path) -> None:
    laughs = "a0: &a0 [lol, lol]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    for text in (laughs, "a: &a [*a]", nested(300), "x: " + "1:" * 5000 + "1", "{" * 90):
        with pytest.raises(InputError):
            parse_yaml(text)
    (tmp_path / "mix.yaml").write_text(laughs)
    with pytest.raises(InputError, match=r"mix\.yaml: line \d+: its aliases, written out, are more than"):
        load_config(locate(tmp_path / "mix.yaml"))
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}}
    with pytest.raises(InputError, match="nested"):
        parse_json(nested(200_000))


@pytest.mark.parametrize("key", ["/etc/x", "../x", "a/../../x", "x\0y", "a/" * 3000 + "b"])
def test_names_that_lead_out_of_an_export_are_refused(key: str) -> None:
    assert _file_name(key, "flac") is None


@pytest.mark.parametrize("key", ["nul", "a/COM1", "c:\\x", "..\\..\\x", "x:stream"])
def test_names_that_mean_something_else_on_windows_are_refused_there(key: str) -> None:
    assert _file_name(key, "flac", windows=True) is None
    assert _file_name(key, "flac", windows=False) is not None


def test_an_export_writes_nothing_through_links(tmp_path) -> None:
    with _Copy() as dataset:
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "precious").write_text("x")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        result = CliRunner().invoke(app, ["export", str(dataset), str(tmp_path / "link")])
        assert isinstance(result.exception, InputError)
        assert [path.name for path in (tmp_path / "real").iterdir()] == ["precious"]


COMMANDS = [
    ["info", "--json"], ["verify", "--json"], ["cat", "key"], ["bench", "--json"], ["export", "OUT"],
    ["index", "OUT"], ["pack", "OUT"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("debug", [False, True])
def test_the_command_line_prints_no_secret_when_storage_fails(command, debug, tmp_path, capfd, monkeypatch) -> None:
    name, *rest = command
    url = f"http://user:{SECRET}@127.0.0.1:9/set?X-Amz-Signature={SECRET}"
    words = [url, *(str(tmp_path / word) if word == "OUT" else word for word in rest)]
    words += ["--storage-option", f"headers.X-Key={SECRET}"]
    monkeypatch.setattr("sys.argv", ["shardkit", name, *words, *(["--debug"] if debug else [])])
    monkeypatch.setattr("sys.excepthook", sys.excepthook)  # which is put back then
    with pytest.raises((SystemExit, ShardkitError)) as ended:
        main.main()
    if isinstance(ended.value, ShardkitError):  # as Python would
        sys.excepthook(ended.type, ended.value, ended.tb)
    said = capfd.readouterr()
    assert any(word in said.err for word in ("shardkit: error:", "Usage", "Traceback"))
    assert SECRET not in said.out + said.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_what_is_written_holds_no_storage_options(tmp_path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.flac").write_bytes(seeds.audio("flac")[0])
    options = ["--storage-option", f"key={SECRET}", "--storage-option", f"client_kwargs.password={SECRET}", "--json"]
    result = CliRunner().invoke(app, ["pack", str(tmp_path / "in"), str(tmp_path / "out"), "--workers", "1", *options])
    assert result.exit_code == 0, result.output
    json.loads(result.stdout)
    state = sk.Stream(sk.open(tmp_path / "out", storage_options={"key": SECRET}), batch_size=1).state_dict()
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert SECRET not in result.output + json.dumps(state) + repr(written)


def test_an_error_is_one_line_that_steers_no_terminal() -> None:
    line = _line("key '\x1b]0;owned\x07\n\x9b2J': " + "x" * 9000)
    assert line.isprintable()
    assert len(line) < 4100


def test_secrets_are_taken_out_of_texts() -> None:
    text = f"https://u:{SECRET}@h/a?sig={SECRET} s3://{SECRET}:{SECRET}@b/c Authorization: Bearer {SECRET}"
    assert SECRET not in without_secrets(text)
    assert without_secrets("s3://b/what?.wav is missing") == "s3://b/what?.wav is missing"
