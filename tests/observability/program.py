"""A program that iterates in one of many ways and ends in one of many ways; what it leaves, others look at.

    python program.py KIND,... END CACHE METHOD URL...

prints ``reading`` once batches come, then ends: by what is done to it, or by itself. Where it goes on living after the
end of an iteration, it prints what is left of that in the process, as JSON.
"""

# ruff: noqa: T201  it prints to who started it

import gc
import json
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from torch.utils.data import DataLoader

import shardkit as sk
from shardkit.train import Loader, StreamingDataset

kept = []


class ConsumerError(Exception):
    """Of the training loop."""


def held():
    """Return what this process holds: threads, children, and what is open but files and connections for later."""
    kinds = ("pipe:", "/memfd:", "/dev/shm")  # noqa: S108
    targets = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            targets.append(str(path.readlink()))
        except FileNotFoundError:
            continue
    return {
        "threads": sorted(one.name for one in threading.enumerate() if one.name.startswith("shardkit")),
        "processes": [child.pid for child in multiprocessing.active_children()],
        "open": sorted(target for target in targets if target.startswith(kinds)),
    }


def batches_of(kind, urls, cache):
    views = {f"source{number}": sk.open(url) for number, url in enumerate(urls)}
    options = {"crop": sk.RandomCrop(0.1), "batch_size": 4, "rank": 0, "world_size": 1}
    stream = sk.Stream(views, cache=cache, cache_size="16MB", **options)
    if kind == "stream":
        return iter(stream)
    if kind == "loader":
        return iter(Loader(stream, device="cpu"))
    if kind == "processes":
        return iter(Loader(stream, device="cpu", workers=2))
    if kind == "side":  # a loader on a thread of its own, which hands batches over
        return on_a_thread(Loader(stream, device="cpu"))
    return iter(DataLoader(StreamingDataset(stream), batch_size=None, num_workers=2))


def on_a_thread(loader):
    handed, over = queue.Queue(2), threading.Event()

    def run():
        for batch in loader:
            handed.put(batch)
            if over.is_set():
                return

    thread = threading.Thread(target=run, name="shardkit-side", daemon=True)
    thread.start()
    try:
        while True:
            yield handed.get()
    finally:
        over.set()
        while thread.is_alive() and not sys.is_finalizing():
            while not handed.empty():
                handed.get()
            thread.join(0.01)


def read(kinds, end, urls, cache):
    """Iterate in all these ways at once."""
    iterators = [batches_of(kind, urls, cache) for kind in kinds]
    for number, _ in enumerate(zip(*iterators, strict=True)):
        if number == 3:
            print("reading", *(child.pid for child in multiprocessing.active_children()), flush=True)
        if number < 3 or end == "signal":
            time.sleep(0.01)
            continue
        if end == "error":
            raise ConsumerError
        if end == "exit":
            kept.extend(iterators)  # until the interpreter ends
            sys.exit(0)
        if end == "fork":
            fork(iterators, urls, cache)
        return


def fork(iterators, urls, cache):
    """A child that is forked in the middle is told so, may read anew, and ends; the parent goes on."""
    child = os.fork()
    if not child:
        for batches in iterators:
            try:
                next(batches)
            except Exception as err:
                print(type(err).__name__, flush=True)
        iterators.clear()
        gc.collect()
        next(batches_of("stream", urls, cache))
        print("read anew", flush=True)
        if multiprocessing.active_children():
            os._exit(0)  # as multiprocessing's own children do: its exit hook would end those of the parent
        sys.exit(0)
    print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    for batches in iterators:
        for _ in range(5):
            next(batches)


def main():
    kinds, end, cache, method, *urls = sys.argv[1:]
    multiprocessing.set_start_method(method)
    before = held()
    with suppress(ConsumerError):
        read(kinds.split(","), end, urls, cache)
    gc.collect()
    after = held()
    print(json.dumps({name: [one for one in after[name] if one not in before[name]] for name in after}), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    main()
