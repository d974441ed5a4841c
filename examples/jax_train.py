"""Train a JAX model on a stream's NumPy batches: which wave is it, at pitches never heard before?

    pip install '.[jax]'
    python examples/jax_train.py --steps 150

No recordings are needed and no torch: the script makes chords of sines, squares, saws and triangles, and packs them.
``shardkit.Stream`` gives NumPy batches; features, model and gradients are JAX's. All devices share each batch. Several
processes do too, each reading its own rows of every global batch, and learn the same as one; on two of them:

    python examples/jax_train.py --coordinator localhost:9000 --processes 2 --process 0    # and --process 1
"""

import argparse
import itertools
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.synth import PairsOptions, write_kind

SAMPLE_RATE, CROP_S, N_FFT = 16_000, 0.25, 1024
WIDTHS = (1, 16, 24, 32)  # channels of the convolutions, which run along frequency
Params = dict[str, Any]


def pack_chords(folder: Path, num_steps: int) -> Path:
    """Write chords and pack them; pitches of the split ``test`` do not occur in ``train``."""
    written = write_kind(folder / "tones", PairsOptions(num_steps=num_steps, modes=("pure", "maj", "min7"), seed=0))
    pack(
        locate(written.manifest),
        locate(folder / "shards"),
        inputs=InputOptions(path_column="x", label="wave"),
        options=PackOptions(splits={"train": 0.8, "test": 0.2}, split_by="frequency_hz"),
    )
    return folder / "shards"


def open_stream(dataset: Path, split: str) -> sk.Stream:
    """Return the stream of this process: endless random crops to train on, one pass of centre crops to evaluate."""
    train = split == "train"
    return sk.Stream(
        sk.open(dataset, split=split),
        crop=sk.RandomCrop(CROP_S) if train else sk.CenterCrop(CROP_S),
        global_batch_size=64,
        rank=jax.process_index(),
        world_size=jax.process_count(),
        passes=None if train else 1,
        seed=1,
    )


def features(audio: jax.Array) -> jax.Array:
    """Return the mean log power of each frequency over frames of ``N_FFT`` samples, (batch, frequency, 1)."""
    frames = audio[:, 0, : audio.shape[-1] // N_FFT * N_FFT].reshape(len(audio), -1, N_FFT)
    power = jnp.abs(jnp.fft.rfft(frames * jnp.hanning(N_FFT))) ** 2
    level = jnp.log(power.mean(axis=1) + 1e-6)
    return ((level - level.mean(axis=1, keepdims=True)) / 4.0)[..., None]


def init(key: jax.Array, num_classes: int) -> Params:
    """Return the weights of three convolutions along frequency and a linear layer."""
    params: Params = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(WIDTHS)):
        scale = (2.0 / (9 * inputs)) ** 0.5
        params[f"kernel{layer}"] = scale * jax.random.normal(jax.random.fold_in(key, layer), (9, inputs, outputs))
        params[f"bias{layer}"] = jnp.zeros(outputs)
    params["head"] = jnp.zeros((2 * WIDTHS[-1], num_classes))
    return params


def logits(params: Params, audio: jax.Array) -> jax.Array:
    """Return (batch, class)."""
    found = features(audio)
    for layer in range(len(WIDTHS) - 1):
        found = jax.lax.conv_general_dilated(
            found, params[f"kernel{layer}"], (2,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )
        found = jax.nn.relu(found + params[f"bias{layer}"])
    return jnp.concatenate([found.max(axis=1), found.mean(axis=1)], axis=1) @ params["head"]


def loss(params: Params, audio: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean cross-entropy."""
    return -(labels * jax.nn.log_softmax(logits(params, audio))).sum(axis=1).mean()


@partial(jax.jit, donate_argnums=(0, 1))
def train_step(params: Params, moments: tuple[Params, Params], step: int, audio: jax.Array, labels: jax.Array) -> Any:
    """Return weights, Adam's moments and the loss after one step of Adam (Kingma and Ba, 2015, algorithm 1)."""
    value, gradient = jax.value_and_grad(loss)(params, audio, labels)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], gradient)
    rate = 3e-3 * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), params, first, second)
    return params, (first, second), value


def shared(array: NDArray[Any]) -> jax.Array:
    """Return this process's rows as its part of the global batch, spread over all devices."""
    rows = NamedSharding(Mesh(jax.devices(), ("batch",)), PartitionSpec("batch"))
    return jax.make_array_from_process_local_data(rows, array)


def train(stream: sk.Stream, num_steps: int) -> Params:
    """Train for some steps; the state of the stream is all that a checkpoint needs beside weights and moments."""
    params = init(jax.random.key(0), len(stream.labels))
    moments = (jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params))
    for step, batch in zip(range(1, num_steps + 1), stream, strict=False):
        params, moments, value = train_step(params, moments, step, shared(batch.audio), shared(batch.labels))
        if step == 1 or step % 25 == 0:
            print(f"step {step}: loss {value:.3f}, position {stream.state_dict()['position']}")
    return params


@jax.jit
def count_right(params: Params, audio: jax.Array, labels: jax.Array, valid: jax.Array) -> jax.Array:
    """Return how many rows are recognised and how many there are; rows that only pad the last batch don't count."""
    hits = logits(params, audio).argmax(axis=1) == labels.argmax(axis=1)
    return jnp.stack([(hits & valid).sum(), valid.sum()])


def accuracy(params: Params, stream: sk.Stream) -> float:
    """Return the share of a pass that is recognised, over all processes."""
    counts = [count_right(params, shared(batch.audio), shared(batch.labels), shared(batch.valid)) for batch in stream]
    right, total = sum(counts)
    return int(right) / int(total)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150, help="training steps")
    parser.add_argument("--pitches", type=int, default=60, help="pitches to make, in waves and chords")
    parser.add_argument("--coordinator", help="HOST:PORT of process 0, where there are several")
    parser.add_argument("--process", type=int, default=0, help="number of this process")
    parser.add_argument("--processes", type=int, default=1, help="how many there are")
    args = parser.parse_args()
    if args.coordinator:
        jax.distributed.initialize(args.coordinator, num_processes=args.processes, process_id=args.process)
    with tempfile.TemporaryDirectory() as folder:
        dataset = pack_chords(Path(folder), args.pitches)
        params = train(open_stream(dataset, "train"), args.steps)
        share = accuracy(params, open_stream(dataset, "test"))
    print(f"accuracy at pitches never heard: {share:.1%} (chance: 25%), on {jax.devices()[0].platform}")


if __name__ == "__main__":
    main()
