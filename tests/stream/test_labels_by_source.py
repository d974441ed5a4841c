"""Classes of several datasets: those of one name are one, or each source has its own."""

import json
from collections import Counter

import numpy as np
import pytest

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.stream.targets import label_rows
from tests.stream.conftest import noise, write_source

LABELS = {"speech": ["dog", "man", "dog", "zebra"], "music": ["dog", "piano", "ant"]}
CROP = {"crop": sk.RandomCrop(0.02), "rank": 0, "world_size": 1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    for number, (name, labels) in enumerate(LABELS.items()):
        audio = {f"{name}{i}.wav": (noise(10 * number + i, 400, 1), 8000) for i in range(len(labels))}
        rows = [{"path": path, "label": label} for path, label in zip(audio, labels, strict=True)]
        pack(
            locate(write_source(folder, name, rows, audio)),
            locate(folder / f"{name}-shards"),
            inputs=InputOptions(label="label"),
            options=PackOptions(workers=1),
        )
    return {name: folder / f"{name}-shards" for name in LABELS}


@pytest.fixture(scope="module")
def views(folders):
    return {name: sk.open(path) for name, path in folders.items()}


BY_SOURCE = ("speech/dog", "speech/man", "speech/zebra", "music/ant", "music/dog", "music/piano")


def test_each_source_has_its_classes_side_by_side(views):
    """spgdataset's router: a class is its place in its dataset, plus the classes of the datasets before it."""
    stream = sk.Stream(views, labels="by_source", passes=1, batch_size=4, **CROP)
    assert stream.labels == BY_SOURCE
    found = Counter()
    for batch in stream:
        for i in np.flatnonzero(batch.valid):
            (place,) = batch.labels[i].nonzero()[0].tolist()
            name, number = batch.sources[i], int(batch.keys[i][-1])
            first = 0 if name == "speech" else len(views["speech"].labels)
            assert place == first + views[name].labels.index(LABELS[name][number])
            found[stream.labels[place]] += 1
    expected = Counter(f"{name}/{label}" for name, labels in LABELS.items() for label in labels)
    assert found == expected
    coverage = stream.coverage()
    assert coverage.counts == expected
    assert coverage.by_source["music"] == {"music/ant": 1, "music/dog": 1, "music/piano": 1}
    assert sk.Stream(views, **CROP).labels == ("dog", "man", "zebra", "ant", "piano")


def test_other_columns_are_counted_as_they_are(views):
    stream = sk.Stream(views, labels="by_source", passes=1, **CROP)
    assert all("/" not in value for value in stream.coverage("codec").counts)


def test_names_change_no_order_and_a_file_may_ask_for_them(views, folders, tmp_path):
    merged = sk.Stream(views, **CROP)
    apart = sk.Stream(views, labels="by_source", **CROP)
    apart.load_state_dict(json.loads(json.dumps(merged.state_at(64))))
    sources = "".join(f"  {name}: {{url: '{path}'}}\n" for name, path in folders.items())
    (tmp_path / "mix.yaml").write_text(
        f"sources:\n{sources}labels: by_source\ncrop: {{kind: random, duration_s: 0.02}}\n"
    )
    assert sk.Stream.from_config(tmp_path / "mix.yaml", rank=0, world_size=1).labels == BY_SOURCE
    (tmp_path / "mix.yaml").write_text(f"sources:\n{sources}labels: by source\n")
    with pytest.raises(sk.InputError, match="labels: .*'merged' or 'by_source'.*found 'by source'"):
        sk.Stream.from_config(tmp_path / "mix.yaml")


def test_what_can_not_be_named_apart_is_told(views):
    with pytest.raises(sk.InputError, match="labels is 'apart'; choose merged or by_source"):
        sk.Stream(views, labels="apart", **CROP)
    labels = LABELS["speech"]
    with pytest.raises(sk.InputError, match="sources 'a' and 'a/b' would both have a class 'a/b/c'; rename a source"):
        label_rows(
            dict.fromkeys(["a", "a/b"], views["speech"].catalog), [("b/c", *labels), ("c", *labels)], "by_source"
        )
