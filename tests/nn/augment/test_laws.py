"""What holds for every augmentation: law L1, rows that are left alone, odd shapes, no waiting for the device."""

import dataclasses

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from shardkit.core.errors import InputError
from shardkit.nn import Apply, Clips, Compose, LogMel
from tests.nn.augment.steps import STEPS, batch_of, rows_of, same

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
every_step = pytest.mark.parametrize("name", STEPS)
MIXING = {"mixup", "mixup-union", "mixup-features", "cutmix", "cutmix-features", "one-of", "compose"}


@every_step
@pytest.mark.parametrize("views", [1, 2])
def test_ranks_together_make_what_one_process_makes(name, views):
    step, batch = STEPS[name](p=0.7, seed=3), batch_of(views=views)
    whole = step(batch)
    for ranks in (2, 4):
        for rank in range(ranks):
            rows = torch.arange(len(batch.audio))
            rows = rows[rows // views % ranks == rank]
            assert same(step(rows_of(batch, rows)), rows_of(whole, rows)), (ranks, rank)


@every_step
def test_a_later_run_makes_the_same_of_a_batch(name):
    batch = batch_of()
    assert same(STEPS[name](seed=3)(batch), STEPS[name](seed=3)(batch_of()))


@every_step
def test_a_row_alone_is_what_it_is_in_a_batch(name):
    if name in MIXING:
        pytest.skip("rows depend on their partners")
    step, batch = STEPS[name](p=0.7), batch_of(8)
    whole = step(batch)
    for row in (0, 3, 5, 6, 7):
        alone = torch.tensor([row])
        assert same(step(rows_of(batch, alone, global_batch_size=1)), rows_of(whole, alone)), row


@pytest.mark.parametrize("name", ["speed", "low", "coloured", "reverb", "corrupt", "stretch"])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_long_row_alone_is_what_it_is_in_a_batch(name, num_threads):
    """From some length on, and with threads, MKL transforms a single row by another algorithm than each of several."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        step, batch = STEPS[name](p=1.0), batch_of(3, time=20_000)
        assert same(step(rows_of(batch, torch.tensor([1]), global_batch_size=1)), rows_of(step(batch), [1]))
    finally:
        torch.set_num_threads(before)


@every_step
def test_another_seed_or_position_draws_anew(name):
    if name in {"limit", "swap-fixed", "apply"}:
        pytest.skip("draws nothing but who is chosen")
    batch = batch_of()
    one = STEPS[name](p=0.5, seed=1)(batch)
    assert not same(one, STEPS[name](p=0.5, seed=2)(batch))
    assert not same(one, STEPS[name](p=0.5, seed=1)(dataclasses.replace(batch, positions=batch.positions + 32)))


@every_step
def test_views_draw_independently(name):
    if name in {"limit", "swap-fixed", "apply"}:
        pytest.skip("draws nothing but who is chosen")
    one = batch_of(16)
    twice = torch.arange(16).repeat_interleave(2)
    pairs = dataclasses.replace(rows_of(one, twice), views=2, global_batch_size=16)
    result = STEPS[name](p=0.5)(pairs)
    first, second = (rows_of(result, torch.arange(view, 32, 2)) for view in (0, 1))
    assert not same(first, second)
    if name not in MIXING:  # whose partners are those of a batch of one view
        assert same(first, STEPS[name](p=0.5)(one))


@every_step
def test_rows_that_are_not_chosen_stay_bit_identical_and_the_input_is_not_modified(name):
    step, batch, untouched = STEPS[name](p=0.5), batch_of(), batch_of()
    result, drawn = step.with_parameters(batch)
    others = (~drawn["chosen"]).nonzero()[:, 0]
    assert 0 < len(others) < 32
    assert same(rows_of(result, others), rows_of(batch, others))
    assert same(batch, untouched)
    assert same(STEPS[name](p=0.0)(batch), untouched)


@every_step
def test_parameters_are_known_without_running_the_step(name):
    step, batch = STEPS[name](), batch_of()
    expected, found = step.draw(batch), step.with_parameters(batch)[1]
    leaves, others = pytree.tree_leaves(expected), pytree.tree_leaves(found)
    assert expected.keys() == found.keys()
    assert all(torch.equal(one, other) for one, other in zip(leaves, others, strict=True))
    assert all(len(leaf) == len(batch.audio) for leaf in leaves)


@every_step
def test_padding_stays_zero(name):
    batch = batch_of()
    result = STEPS[name]()(batch)
    beyond = torch.arange(result.audio.shape[-1]) >= result.lengths[:, None, None]
    assert (torch.where(beyond, result.audio, 0.0) == 0.0).all()
    assert result.audio.shape == batch.audio.shape
    assert (result.lengths <= batch.audio.shape[-1]).all()
    assert torch.isfinite(result.audio).all()


@every_step
def test_a_row_with_nan_spoils_no_other(name):
    batch = batch_of()
    audio, features = batch.audio.clone(), batch.features.clone()
    audio[3, 0, 100], features[3, 0, 2, 1] = float("nan"), float("nan")
    spoilt = STEPS[name]()(dataclasses.replace(batch, audio=audio, features=features))
    others = torch.arange(32) != 3
    assert torch.isfinite(spoilt.audio[others]).all()
    assert torch.isfinite(spoilt.features[others]).all()


@every_step
@pytest.mark.parametrize(("num", "time"), [(0, 1_201), (1, 1_201), (2, 1), (2, 0), (3, 100)])
def test_odd_shapes(name, num, time):
    batch = batch_of(num, time=time)
    result = STEPS[name]()(batch)
    assert result.audio.shape == (num, 2, time)
    assert torch.isfinite(result.audio).all()


@every_step
def test_audio_need_not_be_contiguous_and_may_be_of_float64(name):
    step, batch = STEPS[name](), batch_of(16)
    turned = batch.audio.transpose(1, 2).contiguous().transpose(1, 2)
    strided = step(dataclasses.replace(batch, audio=turned))
    plain = step(batch)
    torch.testing.assert_close(strided.audio, plain.audio, rtol=0, atol=1e-6)
    double = step(dataclasses.replace(batch, audio=batch.audio.double()))
    assert double.audio.dtype == torch.float64
    if name != "crush":  # rounds differently where two steps are equally near
        torch.testing.assert_close(double.audio.float(), plain.audio, rtol=0, atol=3e-4)


@every_step
def test_what_is_not_float_audio_is_refused(name):
    batch = batch_of(2)
    with pytest.raises(InputError, match="give float32"):
        STEPS[name]()(dataclasses.replace(batch, audio=batch.audio.half()))
    with pytest.raises(InputError, match="positions are"):
        STEPS[name]()(dataclasses.replace(batch, positions=batch.positions.int()))


def run_without_values(step, batch: Clips, device: str) -> Clips:
    """What a step makes of tensors of a device, which need not be there, that have shapes and no values."""
    with FakeTensorMode(allow_non_fake_inputs=False):
        for owner in step.modules():
            for key, buffer in owner.named_buffers(recurse=False):
                setattr(owner, key, torch.empty(buffer.shape, dtype=buffer.dtype, device=device))
        return step(moved(batch, lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=device)))


@every_step
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_nothing_depends_on_values_on_the_host(name, device):
    """Whatever reads a value, and would make the host wait, raises here; so do tensors of two devices."""
    step, batch = STEPS[name](p=0.5), batch_of(16)
    expected = step(batch)
    result = run_without_values(step, batch, device)
    assert result.audio.device.type == device
    assert result.audio.shape == expected.audio.shape
    assert result.audio.dtype == expected.audio.dtype


@pytest.mark.parametrize(
    "reads", [lambda audio: audio * audio.amax().item(), lambda audio: audio * 0.0 + audio[audio > 0.0].sum()]
)
def test_what_reads_a_value_is_found_out(reads):
    with pytest.raises(RuntimeError, match=r"_local_scalar_dense|nonzero"):
        run_without_values(Apply(reads), batch_of(16), "cuda")


@needs_gpu
@every_step
def test_a_gpu_is_never_waited_for_and_makes_what_the_cpu_makes(name):
    step, batch = STEPS[name](p=0.5), batch_of(16)
    expected = step(batch)
    step = step.to("cuda")
    batch = moved(batch, lambda tensor: tensor.to("cuda"))
    step(batch)  # allocates, and plans the transforms
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    atol = 0.1 if name == "crush" else 1e-3
    torch.testing.assert_close(result.audio.cpu(), expected.audio, rtol=0, atol=atol)
    torch.testing.assert_close(result.labels.cpu(), expected.labels)
    assert torch.equal(result.lengths.cpu(), expected.lengths)


def test_a_whole_chain_is_the_same_on_any_number_of_ranks():
    chain = Compose(
        [
            *(STEPS[name](p=0.6) for name in ("loudness", "gain", "noise-beside", "reverb", "pitch", "mixup", "low")),
            LogMel(sample_rate=8_000, n_fft=256, hop_length=80, n_mels=12),
            STEPS["spec"](p=0.6),
        ],
        seed=11,
    )
    batch = dataclasses.replace(batch_of(), features=None)
    whole = chain(batch)
    assert whole.features.shape == (32, 2, 12, 16)
    for ranks in (2, 4):
        for rank in range(ranks):
            rows = torch.arange(rank, 32, ranks)
            assert same(chain(rows_of(batch, rows)), rows_of(whole, rows))


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), "0.5"])
def test_a_p_that_is_no_probability_is_refused(p):
    with pytest.raises(InputError, match="must be a probability"):
        STEPS["gain"](p=p)


def moved(batch: Clips, move) -> Clips:
    """The batch with all its tensors moved."""
    names = ("audio", "features", "labels", "lengths", "positions", "valid", "loudness")
    tensors = {name: move(value) for name in names if (value := getattr(batch, name)) is not None}
    beside = {name: moved(other, move) for name, other in batch.beside.items()}
    return dataclasses.replace(batch, **tensors, beside=beside)
