"""The examples of docs/observability.md run, in their order, and do what is said of them."""

import json
import logging
import re
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

import shardkit.logs

TEXT = Path(__file__).resolve().parents[2].joinpath("docs", "observability.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_examples_run_and_do_what_is_said(datasets, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("shards").mkdir()
    Path("shards/speech").symlink_to(datasets["clips"])
    names, logger = {}, logging.getLogger("shardkit")
    handlers, collectors = list(logger.handlers), set(REGISTRY._collector_to_names)
    counts, logs, prometheus, opentelemetry = EXAMPLES
    try:
        exec(counts, names)  # noqa: S102  our own documentation
        verdict, num_bytes = capsys.readouterr().out.split()
        assert verdict in ("nothing", "reading", "transfer", "transform")
        assert int(num_bytes) > 0
        exec(logs, names)  # noqa: S102
        logging.getLogger("shardkit.stream").warning("%d found", 3, extra={"event": "test", "shard": "x.tar"})
        line = json.loads(capsys.readouterr().err)
        assert (line["message"], line["event"], line["shard"], line["level"]) == ("3 found", "test", "x.tar", "WARNING")
        exec(prometheus, names)  # noqa: S102
        port = names["server"].server_port
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
        for query in re.findall(r"\((shardkit_\w+)", TEXT):
            assert query in page
        exec(opentelemetry, names)  # noqa: S102
        assert "shardkit.batches" in names["reader"].get_metrics_data().to_json()
    finally:
        for handler in [one for one in logger.handlers if one not in handlers]:
            logger.removeHandler(handler)
        for collector in set(REGISTRY._collector_to_names) - collectors:
            REGISTRY.unregister(collector)
        if "server" in names:
            names["server"].shutdown()
            names["server"].server_close()
            names["thread"].join()


def test_each_event_that_is_logged_is_listed():
    package = Path(shardkit.logs.__file__).parent
    found = {name for path in package.rglob("*.py") for name in re.findall(r'"event": "(\w+)"', path.read_text())}
    listed = set(re.findall(r"^\| ``(\w+)`` \|", shardkit.logs.__doc__, flags=re.MULTILINE))
    assert {"stall", "sample_left_out"} <= found <= listed
