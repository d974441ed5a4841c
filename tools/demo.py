"""The main job from nothing: synthesise, pack, stream from disk and from S3, log-mel, a table and a picture.

Run by ``make demo``; by hand: ``python tools/demo.py FOLDER [--seconds N]``.
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for tools.s3_server, when run as a file

import shardkit as sk
from shardkit.core.sizes import format_duration, format_size
from shardkit.nn import LogMel
from shardkit.report.figure import draw_batch
from shardkit.train import Loader
from tools.s3_server import serve

SAMPLE_RATE, HOP = 22_050, 256
WEIGHTS = {"tones": 0.2, "bursts": 0.5, "music": 0.3}
PACK_OPTIONS = {
    "tones": ["--label", "mode", "--field", "target=target"],
    "bursts": ["--label", "label", "--split", "train=0.8,val=0.2", "--split-by", "speaker", "--seed", "1"],
    "music": ["--label", "folder"],
}
INPUTS = {"tones": "tones/manifest.csv", "bursts": "bursts/manifest.jsonl", "music": "music"}


def main() -> None:
    """Run the demo in a folder of its own, which it empties first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0, help="how long to stream from each place")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "s3" / "shards").mkdir(parents=True)

    run("synth", folder / "recordings")
    with serve(folder / "s3") as server:
        for name in WEIGHTS:
            run("pack", folder / "recordings" / INPUTS[name], folder / "shards" / name, *PACK_OPTIONS[name])
            run("pack", folder / "recordings" / INPUTS[name], f"s3://shards/{name}", *PACK_OPTIONS[name], env=server)
        run("info", folder / "shards" / "bursts")
        options = {"endpoint_url": server.url, "key": server.access_key, "secret": server.secret_key}
        results = [
            stream_from("disk", str(folder / "shards"), {}, arguments.seconds),
            stream_from("S3", "s3://shards", options, arguments.seconds),
        ]
    Console().print(results_table(results))
    same = all(disk == s3 for disk, s3 in zip(results[0]["drawn"], results[1]["drawn"], strict=False))
    print(f"the first {min(len(result['drawn']) for result in results):,} draws from disk and S3 are the same: {same}")
    picture = draw(folder)
    print(f"a batch, drawn: {picture}")
    if not same:
        sys.exit(1)


def run(*command: object, env: object = None) -> None:
    """Run one shardkit command, showing it as one would type it."""
    words = [str(word) for word in command]
    print(f"\n$ shardkit {' '.join(words)}", flush=True)
    program = Path(sys.executable).with_name("shardkit")
    subprocess.run([program, *words], check=True, env=None if env is None else env.environment())


def open_stream(root: str, options: dict[str, str], **changes: object) -> sk.Stream:
    """Return the weighted mix of the three sources."""
    split = {"bursts": "train"}
    settings = {
        "weights": WEIGHTS,
        "crop": sk.SalientCrop(2.0, floor_lufs=-40.0),
        "sample_rate": SAMPLE_RATE,
        "channels": 1,
        "batch_size": 32,
        "mask_hop": HOP,
        "seed": 0,
    }
    sources = {name: sk.open(f"{root}/{name}", split.get(name), storage_options=options) for name in WEIGHTS}
    return sk.Stream(sources, **(settings | changes))


def stream_from(place: str, root: str, options: dict[str, str], seconds: float) -> dict[str, object]:
    """Stream batches with log-mel for some seconds and return what was seen."""
    stream = open_stream(root, options)
    loader = Loader(stream, transform=log_mel())
    drawn: list[tuple[int, str, int]] = []
    audio_s, began = 0.0, time.perf_counter()
    for batch in loader:
        drawn += zip(batch.positions.tolist(), batch.keys, batch.starts.tolist(), strict=True)
        audio_s += float(batch.lengths.sum()) / SAMPLE_RATE
        if time.perf_counter() - began > seconds:
            break
    return {
        "place": place,
        "drawn": drawn,
        "audio_s": audio_s,
        "wall_s": time.perf_counter() - began,
        "stats": stream.stats(),
        "asked": stream.weights,
    }


def log_mel() -> LogMel:
    """Return the features of the demo."""
    return LogMel(sample_rate=SAMPLE_RATE, n_fft=1024, hop_length=HOP, n_mels=80)


def results_table(results: list[dict[str, object]]) -> Table:
    """Return the short table that the demo ends with."""
    table = Table(title="streamed: weighted mix, 2 s salient crops, log-mel", title_justify="left")
    table.add_column("")
    for result in results:
        table.add_column(f"from {result['place']}", justify="right")
    samples = [len(result["drawn"]) for result in results]
    read = [result["stats"]["bytes_read"] for result in results]
    fetched = [result["stats"]["samples"] for result in results]
    rows = {
        "samples": [f"{num:,}" for num in samples],
        "audio": [format_duration(result["audio_s"]) for result in results],
        "samples/s": [f"{num / result['wall_s']:,.0f}" for num, result in zip(samples, results, strict=True)],
        "bytes read": [format_size(num) for num in read],
        "bytes a sample": [format_size(num / count) for num, count in zip(read, fetched, strict=True)],
        "mixture": ["asked → got" for _ in results],
    }
    for name in WEIGHTS:
        shares = [result["stats"]["sources"][name]["samples"] / result["stats"]["samples"] for result in results]
        rows[f"  {name}"] = [
            f"{result['asked'][name]:.4f} → {share:.4f}" for result, share in zip(results, shares, strict=True)
        ]
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def draw(folder: Path) -> Path:
    """Draw two samples of each source: waveforms, spectrograms, masks over them."""
    stream = open_stream(str(folder / "shards"), {}, batch_size=16)
    batch = next(iter(Loader(stream, transform=log_mel())))
    chosen = [i for name in WEIGHTS for i in [j for j, source in enumerate(batch.sources) if source == name][:2]]
    path = folder / "batch.png"
    draw_batch(
        batch.audio[chosen].numpy(),
        batch.features[chosen].numpy(),
        sample_rate=SAMPLE_RATE,
        hop_length=HOP,
        masks={name: mask[chosen].numpy() for name, mask in batch.masks.items()},
        lengths=batch.lengths[chosen].numpy(),
        titles=[f"{batch.sources[i]}: {batch.keys[i]}" for i in chosen],
        path=path,
    )
    return path


if __name__ == "__main__":
    main()
