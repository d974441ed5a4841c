"""Planning an import of millions of rows: what is kept of each is small, and what many share is kept once."""

import tracemalloc
from pathlib import Path

from shardkit.pack.imported import read_imported
from shardkit.pack.inputs import InputOptions
from shardkit.storage.location import locate

NUM_ROWS = 4000
MIDS = ["/m/09x0r", "/m/05zppz", "/t/dd00088"]


def test_a_clip_takes_little_memory_and_shares_what_others_have(tmp_path: Path) -> None:
    """Two million clips, the whole of AudioSet, are planned within about 3 GB."""
    lines = [
        f'{i:011d}, {i % 5 * 10}.000, {i % 5 * 10 + 10}.000, "{",".join(MIDS[: i % 3 + 1])}"' for i in range(NUM_ROWS)
    ]
    (tmp_path / "unbalanced_train_segments.csv").write_text("\n".join(["# a", "# b", "# c", *lines, ""]))
    classes = "".join(f"{i},{mid},name {i}\n" for i, mid in enumerate(MIDS))
    (tmp_path / "class_labels_indices.csv").write_text("index,mid,display_name\n" + classes)
    (tmp_path / "audio").mkdir()
    for i in range(NUM_ROWS):
        (tmp_path / "audio" / f"Y{i:011d}.flac").touch()
    options = InputOptions(importer="audioset", root=locate(tmp_path / "audio"))
    read_imported(locate(tmp_path), options, hops_s={}, keep_going=False)  # imports and caches
    tracemalloc.start()
    try:
        found = read_imported(locate(tmp_path), options, hops_s={}, keep_going=False)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.inputs) == NUM_ROWS
    assert kept / NUM_ROWS < 1080  # 970; 1,200 where each has labels, times and empty members of its own
    assert peak / NUM_ROWS < 1700  # 1,430; 2,020 where all rows of the table are held until the last is read
    assert len({id(item.labels) for item in found.inputs}) == 3
    assert len({id(item.metadata["source_stop_s"]) for item in found.inputs}) == 5
