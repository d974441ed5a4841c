"""Noise at a ratio, and rooms: against their definitions and scipy's convolution."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from shardkit.core.errors import InputError
from shardkit.nn import AddGaussianNoise, AddNoise, Clips, Reverb
from shardkit.nn.augment.spectra import good_length
from shardkit.nn.augment.sums import mean_squares, row_sums
from tests.nn.augment.steps import BANK, ROOMS, batch_of, noise

SOUNDING = [row for row in range(32) if row not in (4, 5, 6)]


def snr_db(before: torch.Tensor, after: torch.Tensor, length: int) -> float:
    clean = before[:, :length].double()
    return float(10 * torch.log10(clean.square().mean() / (after[:, :length] - clean).square().mean()))


@pytest.mark.parametrize(
    "step",
    [
        AddNoise(beside="noise", min_snr_db=-5.0, max_snr_db=25.0, p=1.0),
        AddNoise(bank=BANK, min_snr_db=-5.0, max_snr_db=25.0, p=1.0),
        AddGaussianNoise(min_snr_db=-5.0, max_snr_db=25.0, p=1.0),
        AddGaussianNoise(min_snr_db=-5.0, max_snr_db=25.0, min_exponent=1.0, max_exponent=2.0, p=1.0),
    ],
    ids=["beside", "bank", "white", "coloured"],
)
def test_the_ratio_is_the_one_drawn_over_the_samples_that_are_no_padding(step):
    batch = batch_of()
    result, drawn = step.with_parameters(batch)
    for row in SOUNDING:
        found = snr_db(batch.audio[row], result.audio[row], int(batch.lengths[row]))
        assert abs(found - drawn["snr_db"][row]) < 0.01
    assert torch.equal(result.audio[5:7], batch.audio[5:7])  # an empty row and a silent one


def test_silent_noise_adds_nothing():
    batch = batch_of()
    assert torch.equal(AddNoise(beside="noise", p=1.0)(batch).audio[4], batch.audio[4])


def test_a_bank_is_read_round_and_round_from_where_was_drawn():
    batch, lengths = batch_of(), torch.tensor([700, 1, 50, 699, 300])
    result, drawn = AddNoise(bank=BANK, lengths=lengths, p=1.0).with_parameters(batch)
    for row in SOUNDING:
        which, start, length = int(drawn["recording"][row]), int(drawn["start"][row]), int(batch.lengths[row])
        recording = BANK[which, 0, : lengths[which]].numpy()
        assert 0 <= start < len(recording)
        looped = np.tile(recording, 1 + (start + length) // len(recording))[start : start + length]
        added = (result.audio[row] - batch.audio[row])[0, :length].numpy()
        level = (added @ looped) / (looped @ looped)
        np.testing.assert_allclose(added, level * looped, atol=1e-6)
    assert set(drawn["recording"].tolist()) == set(range(5))


def test_noise_that_does_not_fit_is_refused():
    batch = batch_of(4)
    with pytest.raises(InputError, match="one of the two"):
        AddNoise()
    with pytest.raises(InputError, match="'rain' is beside this one .there are: noise"):
        AddNoise(beside="rain")(batch)
    other = dataclasses.replace(batch.beside["noise"], sample_rate=16_000)
    with pytest.raises(InputError, match="at 16000 Hz beside 4 at 8000 Hz"):
        AddNoise(beside="noise")(dataclasses.replace(batch, beside={"noise": other}))
    with pytest.raises(InputError, match="3 channels does not fit audio of 2"):
        AddNoise(bank=noise(2, 3, 50))(batch)
    with pytest.raises(InputError, match="num, channel, time"):
        AddNoise(bank=noise(2, 50))
    with pytest.raises(InputError, match="holds no samples"):
        AddNoise(bank=noise(0, 1, 50))
    with pytest.raises(InputError, match="one from 1 to 50"):
        AddNoise(bank=noise(1, 1, 50), lengths=torch.tensor([51]))


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_power_of_noise_falls_as_its_exponent_says(exponent):
    rate, time = 16_000, 2**15
    tone = torch.sin(torch.arange(time) * 0.3).expand(8, 1, -1)
    step = AddGaussianNoise(min_snr_db=0.0, max_snr_db=0.0, min_exponent=exponent, max_exponent=exponent, p=1.0)
    batch = Clips(audio=tone, sample_rate=rate)
    added = (step(batch).audio - tone)[:, 0].numpy()
    frequencies, power = signal.welch(added, rate, nperseg=1024)
    band = (frequencies > 100) & (frequencies < 7_000)
    slope = np.polyfit(np.log(frequencies[band]), np.log(power.mean(axis=0)[band]), 1)[0]
    assert abs(slope + exponent) < 0.05


def test_a_room_is_a_convolution_from_its_direct_sound_on():
    batch = batch_of()
    result, drawn = Reverb(ROOMS, level="response", p=1.0).with_parameters(batch)
    for row in range(32):
        room = ROOMS[drawn["response"][row]].double().numpy()
        room = room[:, np.abs(room).max(axis=0).argmax() :]
        expected = signal.fftconvolve(batch.audio[row].double().numpy(), room, axes=1)[:, : batch.audio.shape[2]]
        expected[:, int(batch.lengths[row]) :] = 0.0
        np.testing.assert_allclose(result.audio[row].numpy(), expected, atol=1e-6)
    plain = Reverb(ROOMS, level="response", align=False, p=1.0)(batch).audio[0].numpy()
    room = ROOMS[drawn["response"][0]].double().numpy()
    expected = signal.fftconvolve(batch.audio[0].double().numpy(), room, axes=1)[:, : batch.audio.shape[2]]
    np.testing.assert_allclose(plain, expected, atol=1e-6)


def test_a_room_keeps_the_level_if_told_to():
    batch = batch_of()
    result = Reverb(ROOMS, p=1.0)(batch)
    torch.testing.assert_close(
        mean_squares(result.audio, batch.lengths), mean_squares(batch.audio, batch.lengths), rtol=1e-5, atol=1e-12
    )
    with pytest.raises(InputError, match="level is 'wet'"):
        Reverb(ROOMS, level="wet")
    with pytest.raises(InputError, match="responses of 2 channels do not fit audio of 1"):
        Reverb(ROOMS)(Clips(audio=noise(1, 1, 100), sample_rate=8_000))


@given(values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=50), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_a_sum_has_no_order(values, seed):
    row = torch.tensor([values])
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(row_sums(row), row_sums(row[:, order]))
    bound = len(values) * float(row.abs().max()) * 2.0**-24
    assert abs(float(row_sums(row)) - float(row.double().sum())) <= bound


def test_sums_of_what_is_not_finite_are_not_numbers():
    values = torch.tensor([[1.0, float("nan")], [1.0, float("inf")], [0.0, 0.0], [1.0, 2.0]])
    assert row_sums(values).isnan().tolist() == [True, True, False, False]
    assert row_sums(values)[2:].tolist() == [0.0, 3.0]


@given(at_least=st.integers(1, 100_000))
def test_a_good_length_is_the_least_of_its_kind(at_least):
    found = good_length(at_least)
    assert found >= at_least
    rest = found
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    assert rest == 1
    assert found <= 2 * at_least
