"""Chains and choices: keys of their own, parameters on request, feature modules among the steps."""

import dataclasses

import pytest
import torch
from scipy import stats

from shardkit.core.errors import InputError
from shardkit.nn import Clips, Compose, Gain, LogMel, MixUp, OneOf, PolarityInversion, SpecAugment
from tests.nn.augment.steps import batch_of, same


def test_equal_steps_draw_independently_even_if_they_are_one():
    batch = Clips(audio=torch.ones(2_000, 1, 1), sample_rate=8_000)
    gain = Gain(min_db=-1.0, max_db=1.0)
    drawn = Compose([gain, gain, Gain(min_db=-1.0, max_db=1.0)]).with_parameters(batch)[1]
    gains = torch.stack([drawn[f"{place}.Gain"]["gain_db"] for place in range(3)])
    assert (torch.corrcoef(gains) - torch.eye(3)).abs().max() < 0.1
    assert not torch.equal(gains[0], gain.draw(batch)["gain_db"])


def test_steps_with_a_seed_keep_it_and_seeds_of_chains_matter():
    batch = batch_of(8)
    keyed = Compose([Gain(seed=5)], seed=1)(batch)
    assert same(keyed, Gain(seed=5)(batch))
    assert same(keyed, Compose([Gain(seed=5)], seed=2)(batch))
    assert not same(Compose([Gain()], seed=1)(batch), Compose([Gain()], seed=2)(batch))
    assert same(Compose([Gain()], seed=0)(batch), Compose([Gain()])(batch))


def test_what_comes_later_changes_nothing_before():
    batch = batch_of(8)
    one = Compose([Gain(), MixUp()]).with_parameters(batch)[1]
    two = Compose([Gain(), MixUp(), PolarityInversion()]).with_parameters(batch)[1]
    assert torch.equal(one["1.MixUp"]["share"], two["1.MixUp"]["share"])


def test_parameters_are_those_that_were_used_also_inside():
    batch = batch_of(8)
    chain = Compose([Gain(), Compose([Gain(), LogMel(sample_rate=8_000, n_fft=256)])], seed=4)
    result, drawn = chain.with_parameters(batch)
    total = drawn["0.Gain"]["gain_db"] + drawn["1.Compose"]["0.Gain"]["gain_db"]
    expected = batch.audio * 10 ** (total / 20).float()[:, None, None]
    torch.testing.assert_close(result.audio, expected, rtol=1e-5, atol=0)
    assert torch.equal(result.features, LogMel(sample_rate=8_000, n_fft=256)(result.audio))
    assert same(chain(batch), result)
    assert torch.equal(chain.draw(batch)["0.Gain"]["gain_db"], drawn["0.Gain"]["gain_db"])


def test_functions_make_features_and_steps_of_others_get_the_batch():
    class Silence:
        takes_batch = True

        def __call__(self, batch):
            return dataclasses.replace(batch, audio=torch.zeros_like(batch.audio))

    result = Compose([Silence(), lambda audio: audio.unsqueeze(2) + 1.0])(batch_of(4))
    assert torch.equal(result.features, torch.ones(4, 2, 1, 1_201))


def test_a_chain_says_for_which_rate_it_is():
    mel = LogMel(sample_rate=8_000, n_fft=256)
    assert Compose([Gain(), mel]).sample_rate == 8_000
    assert not hasattr(Compose([Gain()]), "sample_rate")
    with pytest.raises(InputError, match="8000 and 16000 Hz"):
        Compose([mel, LogMel(sample_rate=16_000)])


def test_a_chain_moves_its_modules_and_shows_them():
    chain = Compose([Gain(), LogMel(sample_rate=8_000, n_fft=256), MixUp(on="features")])
    assert {module for module in chain.modules() if isinstance(module, LogMel)}
    assert not chain.state_dict()
    assert "alpha=0.2" in repr(chain)
    assert "min_db=-12.0" in repr(chain)


def test_one_of_takes_one_for_each_row_by_weight():
    batch = Clips(audio=torch.ones(4_000, 1, 2), sample_rate=8_000)
    steps = [Gain(min_db=db, max_db=db) for db in (20.0, 40.0, 60.0)]
    result, drawn = OneOf(steps, weights=[1, 0, 3], p=0.8).with_parameters(batch)
    factors = torch.tensor([10.0, 100.0, 1_000.0])[drawn["choice"]]
    expected = torch.where(drawn["chosen"], factors, 1.0)
    torch.testing.assert_close(result.audio[:, 0, 0], expected)
    counts = torch.bincount(drawn["choice"], minlength=3)
    assert counts[1] == 0
    assert stats.binomtest(int(counts[0]), 4_000, 0.25).pvalue > 0.01
    assert stats.binomtest(int(drawn["chosen"].sum()), 4_000, 0.8).pvalue > 0.01
    assert "2.Gain" in drawn


def test_a_part_of_a_chain_may_happen_to_some_rows_only():
    batch = batch_of(40)
    result, drawn = Compose([Gain(min_db=6.0, max_db=6.0), PolarityInversion(p=1.0)], p=0.5).with_parameters(batch)
    factor = torch.where(drawn["chosen"], -(10 ** (6 / 20)), 1.0)[:, None, None]
    torch.testing.assert_close(result.audio, batch.audio * factor)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Compose([Gain(), 3]), "step 1 is a int"),
        (lambda: OneOf([Gain(), LogMel(sample_rate=8_000)]), "step 1 is a LogMel"),
        (lambda: OneOf([]), "for 0 steps"),
        (lambda: OneOf([Gain()], weights=[0.0]), "all weights are 0"),
        (lambda: OneOf([Gain()], weights=[1.0, 2.0]), "for 1 steps"),
        (lambda: Gain(seed=-1), "seed -1"),
    ],
)
def test_options_that_can_not_be_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_features_can_not_be_made_for_some_rows_only():
    bare = Clips(audio=torch.zeros(2, 1, 400), sample_rate=8_000)
    with pytest.raises(InputError, match="features can't be made for some rows only"):
        Compose([LogMel(sample_rate=8_000, n_fft=256)], p=0.5)(bare)
    with pytest.raises(InputError, match="has no features"):
        Compose([SpecAugment()])(bare)


def test_clips_fill_in_what_is_not_given_and_refuse_what_does_not_fit():
    clips = Clips(audio=torch.zeros(4, 1, 9), sample_rate=8_000, views=2)
    assert clips.positions.tolist() == [0, 0, 1, 1]
    assert clips.lengths.tolist() == [9] * 4
    assert clips.global_batch_size == 2
    assert clips.labels.shape == (4, 0)
    with pytest.raises(InputError, match="3 rows are no whole number"):
        Clips(audio=torch.zeros(3, 1, 9), sample_rate=8_000, views=2)
    with pytest.raises(InputError, match="labels has 2 rows"):
        Clips(audio=torch.zeros(3, 1, 9), sample_rate=8_000, labels=torch.zeros(2, 1))
    with pytest.raises(InputError, match="batch, channel, time"):
        Clips(audio=torch.zeros(3, 9), sample_rate=8_000)
