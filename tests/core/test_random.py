"""Laws of counter-based randomness."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shardkit.core.errors import InputError
from shardkit.core.random import check_seed, hash64, hash_int, key_of, uniform

WORDS = st.integers(min_value=0, max_value=2**64 - 1)
POSITIONS = np.arange(200_000, dtype=np.int64)


def splitmix64(seed, count):
    """The published generator, with its state: our oracle."""
    mask, outputs = 2**64 - 1, []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        outputs.append(z ^ (z >> 31))
    return outputs


def test_one_word_is_the_first_output_of_splitmix64():
    # 1234567: the test vector of Rosetta Code and of Java's SplittableRandom ports.
    assert splitmix64(1234567, 2) == [6457827717110365317, 3203168211198807973]
    assert hash_int(1234567) == 6457827717110365317


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_words_are_folded_through_splitmix64(words):
    state = 0
    for word in words:
        (state,) = splitmix64(state ^ word, 1)
    assert hash_int(*words) == state


@given(st.lists(WORDS, min_size=1, max_size=4), st.data())
def test_arrays_and_scalars_give_the_same_hash(words, data):
    as_array = data.draw(st.lists(st.booleans(), min_size=len(words), max_size=len(words)))
    mixed = [np.array([w, w], dtype=np.uint64) if wide else w for w, wide in zip(words, as_array, strict=True)]
    assert set(hash64(*mixed).ravel().tolist()) == {hash_int(*words)}


def test_words_broadcast():
    table = hash64(7, np.arange(3)[:, np.newaxis], np.arange(4))
    assert table.shape == (3, 4)
    assert table[2, 3] == hash_int(7, 2, 3)


def test_signed_words_are_taken_modulo_two_to_the_64():
    assert hash_int(-1) == hash_int(2**64 - 1) == int(hash64(np.array([-1]))[0]) == int(hash64(np.int64(-1)))


def test_arguments_are_not_modified():
    words = np.arange(5, dtype=np.uint64)
    hash64(words)
    hash64(0, words)
    assert words.tolist() == list(range(5))


def test_words_that_are_not_integers_are_refused():
    with pytest.raises(InputError, match="float64"):
        hash64(np.array([0.5]))
    with pytest.raises(InputError, match="at least one"):
        hash64()


def test_seed_and_pass_do_not_collide_as_their_sum_does():
    seeds, passes = np.arange(300)[:, np.newaxis], np.arange(300)
    assert len(np.unique(hash64(seeds, passes))) == 300 * 300


def test_uniforms_of_other_seeds_purposes_and_positions_all_differ():
    drawn = [
        uniform(seed, POSITIONS[:1000], purpose, index)
        for seed in range(5)
        for purpose in ("crop", "gain", "crop1")
        for index in range(3)
    ]
    assert len(np.unique(drawn)) == 5 * 3 * 3 * 1000


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
@pytest.mark.parametrize("start", [0, 10**15])
def test_uniforms_are_uniform(seed, start):
    drawn = uniform(seed, start + POSITIONS, "crop")
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3
    # the lowest bits too: they decide when a range is large
    assert stats.chisquare(np.bincount((drawn * 2.0**53).astype(np.int64) & 255, minlength=256)).pvalue > 1e-3


@pytest.mark.parametrize("stride", [1, 2, 64, 4096])
def test_neighbouring_positions_are_independent(stride):
    first, second = uniform(3, POSITIONS, "crop"), uniform(3, POSITIONS + stride, "crop")
    assert independent(first, second)


@pytest.mark.parametrize(("seed", "purpose", "index"), [(3, "gain", 0), (4, "crop", 0), (3, "crop", 1), (2, "crop", 1)])
def test_other_keys_are_independent(seed, purpose, index):
    assert independent(uniform(3, POSITIONS, "crop"), uniform(seed, POSITIONS, purpose, index))


def independent(first, second):
    joint = np.bincount((first * 16).astype(int) * 16 + (second * 16).astype(int), minlength=256)
    return stats.chisquare(joint).pvalue > 1e-3


def test_uniforms_never_change():
    assert uniform(0, np.array([0, 1, 10**15]), "crop").tolist() == GOLDEN_UNIFORMS
    assert uniform(2**63 - 1, np.array([2**62]), "gain", 3).tolist() == GOLDEN_LAST
    assert key_of("crop") == GOLDEN_KEY


GOLDEN_UNIFORMS = [0.7152171122785166, 0.7872739318215143, 0.262915911702161]
GOLDEN_LAST = [0.8176214291862798]
GOLDEN_KEY = 0xE7205D219696FD81


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, "0"])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(InputError, match="seed"):
        uniform(seed, POSITIONS[:1], "crop")


def test_numpy_seeds_are_taken():
    assert check_seed(np.int64(5)) == 5
