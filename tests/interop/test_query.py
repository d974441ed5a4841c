"""The index is Parquet that other engines query where it lies: DuckDB and Polars find the rows that ``where`` finds."""

import duckdb
import polars
import pytest

from shardkit.stream.dataset import open_dataset

CONDITIONS = [
    ("duration_s >= 3 and lang == 'en'", "duration_s >= 3 AND lang = 'en'"),
    ("snr_db < 2.5", "snr_db < 2.5"),
    ("snr_db != 1.0 and channels == 1", "snr_db <> 1.0 AND channels = 1"),
    ("'loud' in labels", "list_contains(labels, 'loud')"),
    ("'loud' not in labels and sample_rate == 16000", "NOT list_contains(labels, 'loud') AND sample_rate = 16000"),
    ("codec in ['vorbis', 'mp3']", "codec IN ('vorbis', 'mp3')"),
    ("path.startswith('recordings/win/')", "starts_with(path, 'recordings/win/')"),
    ("loudness_lufs > -20 or frames < 0", "loudness_lufs > -20 OR frames < 0"),
]


def polars_filter(condition):
    column = polars.col
    return {
        CONDITIONS[0][0]: (column("duration_s") >= 3) & (column("lang") == "en"),
        CONDITIONS[1][0]: column("snr_db") < 2.5,
        CONDITIONS[2][0]: (column("snr_db") != 1.0) & (column("channels") == 1),
        CONDITIONS[3][0]: column("labels").list.contains("loud"),
        CONDITIONS[4][0]: ~column("labels").list.contains("loud") & (column("sample_rate") == 16_000),
        CONDITIONS[5][0]: column("codec").is_in(["vorbis", "mp3"]),
        CONDITIONS[6][0]: column("path").str.starts_with("recordings/win/"),
        CONDITIONS[7][0]: (column("loudness_lufs") > -20) | (column("frames") < 0),
    }[condition]


@pytest.mark.parametrize(("condition", "sql"), CONDITIONS)
def test_duckdb_and_polars_find_the_rows_that_where_finds(packed, condition, sql):
    expected = sorted(open_dataset(packed).where(condition).keys())
    assert 0 < len(expected) < 10 or condition.startswith("loudness")
    files = f"{packed}/*/*.parquet"
    # The pattern is ours; DuckDB takes no parameter for a file name in FROM.
    by_duckdb = duckdb.sql(f"SELECT key FROM '{files}' WHERE {sql}").fetchall()  # noqa: S608
    assert sorted(key for (key,) in by_duckdb) == expected
    by_polars = polars.scan_parquet(files).filter(polars_filter(condition)).select("key").collect()
    assert sorted(by_polars["key"]) == expected


def test_members_are_found_from_sql_and_lie_where_it_says(packed):
    """What another language needs to read a stem: a query for its place, then that many bytes."""
    files = f"{packed}/val/*.parquet"
    sql = f"SELECT key, fields.vocals.offset, fields.vocals.size FROM '{files}' WHERE fields.vocals IS NOT NULL"  # noqa: S608
    tar = (packed / "val" / "000000.tar").read_bytes()
    found = duckdb.sql(sql).fetchall()
    assert {key for key, _, _ in found} <= set(open_dataset(packed, "val").keys())
    assert found
    for _, offset, size in found[:1]:
        assert tar[offset : offset + 4] == b"fLaC"
        assert offset + size <= len(tar)


def test_intervals_unnest_to_seconds(packed):
    files = f"{packed}/*/*.parquet"
    sql = f"SELECT sum((i.stop - i.start) / sample_rate) FROM '{files}', unnest(intervals) AS t(i)"  # noqa: S608
    assert duckdb.sql(sql).fetchall()[0][0] == pytest.approx(10 * 0.5)
