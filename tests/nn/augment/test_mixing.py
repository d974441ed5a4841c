"""Mixup, cutmix and partners: against their formulas, row by row."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shardkit.core.errors import InputError
from shardkit.nn import Clips, CutMix, MixUp
from shardkit.nn.augment.partners import default_classes, partners
from tests.nn.augment.steps import batch_of, noise, rows_of


@given(
    size=st.sampled_from([1, 2, 8, 12, 24, 32, 96, 256]),
    views=st.integers(1, 3),
    begin=st.integers(0, 10**9),
    data=st.data(),
)
def test_partners_are_the_same_on_any_number_of_ranks(size, views, begin, data):
    classes = default_classes(size)
    ranks = data.draw(st.sampled_from([ranks for ranks in range(1, classes + 1) if classes % ranks == 0]))
    positions = begin + torch.arange(size)
    uniforms = torch.rand(size * views, generator=torch.Generator().manual_seed(begin), dtype=torch.float64)
    whole = _partner_positions(positions, uniforms, views=views, size=size)
    for rank in range(ranks):
        # A batch that begins anywhere: as after a run went on with another size of batch.
        mine = positions % ranks == rank
        rows = mine.repeat_interleave(views)
        assert torch.equal(_partner_positions(positions[mine], uniforms[rows], views=views, size=size), whole[rows])
    own = positions.repeat_interleave(views)
    assert torch.equal(whole % classes, own % classes)
    if size // classes > 1:
        assert (whole != own).all()


def _partner_positions(positions, uniforms, *, views, size):
    rows = positions.repeat_interleave(views)
    batch = Clips(
        audio=torch.zeros(len(rows), 1, 1), sample_rate=1, positions=rows, views=views, global_batch_size=size
    )
    partner = partners(batch, uniforms)
    assert torch.equal(partner % views, torch.arange(len(rows)) % views)
    return rows[partner]


def test_every_other_one_of_a_class_is_equally_likely():
    counts = torch.zeros(16, 16)
    for step in range(150):
        batch = Clips(audio=torch.zeros(16, 1, 1), sample_rate=1, positions=torch.arange(16) + 16 * step)
        drawn = MixUp().draw(batch)
        counts[torch.arange(16), drawn["partner"]] += 1
        assert torch.equal(drawn["partner_position"], batch.positions[drawn["partner"]])
    own_class = torch.arange(16)[:, None] % 2 == torch.arange(16) % 2
    others = own_class & ~torch.eye(16, dtype=torch.bool)
    assert counts[~others].sum() == 0
    assert stats.chisquare(counts[others].numpy()).pvalue > 0.01


def test_ranks_that_do_not_divide_the_classes_are_told_what_works():
    batch = rows_of(batch_of(24), torch.arange(0, 24, 3))  # rank 0 of 3; 24 positions make 2 classes
    with pytest.raises(InputError, match=r"3 ranks, 2 classes .* give classes=3"):
        MixUp()(batch)
    whole = MixUp(classes=3)(batch_of(24))
    assert torch.equal(MixUp(classes=3)(batch).audio, whole.audio[::3])
    with pytest.raises(InputError, match="no rank's share of a global batch of 20"):
        MixUp()(dataclasses.replace(batch, global_batch_size=20))


@pytest.mark.parametrize("labels", ["mix", "union"])
@pytest.mark.parametrize("on", ["audio", "features"])
def test_mixup_is_its_formula(labels, on):
    batch = batch_of()
    result, drawn = MixUp(alpha=0.8, on=on, labels=labels).with_parameters(batch)
    values, mixed = getattr(batch, on), getattr(result, on)
    for row in range(32):
        share, other = float(drawn["share"][row]), int(drawn["partner"][row])
        torch.testing.assert_close(mixed[row], share * values[row] + (1 - share) * values[other])
        one, two = batch.labels[row], batch.labels[other]
        expected = torch.maximum(one, two) if labels == "union" else share * one + (1 - share) * two
        torch.testing.assert_close(result.labels[row], expected)
        assert result.lengths[row] == max(batch.lengths[row], batch.lengths[other])
    untouched = "features" if on == "audio" else "audio"
    assert getattr(result, untouched) is getattr(batch, untouched)
    assert result.loudness.isnan().all() == (on == "audio")


def test_mixing_one_hot_labels_is_mixing_losses():
    batch = dataclasses.replace(batch_of(), labels=torch.eye(4)[torch.arange(32) % 4])
    result, drawn = MixUp(alpha=0.8).with_parameters(batch)
    logits, share = noise(32, 4), drawn["share"].float()
    loss = torch.nn.functional.cross_entropy
    mixed = loss(logits, result.labels, reduction="none")
    one = loss(logits, batch.labels, reduction="none")
    other = loss(logits, batch.labels[drawn["partner"]], reduction="none")
    torch.testing.assert_close(mixed, share * one + (1 - share) * other)


@pytest.mark.parametrize("step", [MixUp(), CutMix()])
def test_rows_that_are_not_valid_are_nobodys_partners(step):
    batch = batch_of(16)
    valid = torch.arange(16) < 9
    batch = dataclasses.replace(batch, valid=valid)
    result, drawn = step.with_parameters(batch)
    alone = ~(valid & valid[drawn["partner"]])
    assert alone.sum() > 7
    assert torch.equal(result.audio[alone], batch.audio[alone])
    assert torch.equal(result.labels[alone], batch.labels[alone])
    assert torch.equal(drawn["share"][alone], torch.ones_like(drawn["share"][alone]))


@pytest.mark.parametrize("on", ["audio", "features"])
def test_cutmix_replaces_a_stretch_and_shares_labels_by_time(on):
    batch = batch_of()
    result, drawn = CutMix(on=on).with_parameters(batch)
    values, mixed = getattr(batch, on), getattr(result, on)
    hop = 80 if on == "features" else 1
    for row in range(32):
        start, stop, other = (int(drawn[name][row]) for name in ("start", "stop", "partner"))
        length, others_length = (-(-int(batch.lengths[index]) // hop) for index in (row, other))
        expected = values[row].clone()
        expected[..., start:stop] = values[other][..., start:stop]
        assert torch.equal(mixed[row], expected)
        assert 0 <= start <= stop <= length + (hop > 1)
        share = 1 - (stop - start) / max(1, length)
        others = max(0, min(stop, others_length) - start) / max(1, length)
        tolerance = 0.0 if hop == 1 else 0.15  # a frame more or less
        label = share * batch.labels[row] + others * batch.labels[other]
        torch.testing.assert_close(result.labels[row], label, rtol=1e-5, atol=1e-6 + tolerance)
    assert torch.equal(result.lengths, batch.lengths)


def test_stretches_of_cutmix_are_of_all_sizes_and_places():
    batch = Clips(audio=noise(2_000, 1, 1_000), sample_rate=8_000)
    drawn = CutMix().draw(batch)
    width = (drawn["stop"] - drawn["start"]).double()
    assert stats.kstest((width / 1_000).numpy(), "uniform").pvalue > 0.01
    place = (drawn["start"] + 0.5) / (1_001 - width)
    assert stats.kstest(place.numpy(), "uniform").pvalue > 0.01
    assert abs(float(torch.corrcoef(torch.stack((width, place)))[0, 1])) < 0.08


@dataclasses.dataclass(frozen=True)
class Masked:
    """A batch with frame masks, as a loader's."""

    audio: torch.Tensor
    masks: dict
    labels: torch.Tensor
    lengths: torch.Tensor
    positions: torch.Tensor
    valid: torch.Tensor
    sample_rate: int = 8_000
    global_batch_size: int = 16
    views: int = 1
    features: torch.Tensor | None = None
    loudness: torch.Tensor | None = None
    beside: dict = dataclasses.field(default_factory=dict)


def test_frame_masks_are_mixed_or_refused():
    clips = batch_of(16)
    names = ("audio", "labels", "lengths", "positions", "valid")
    masks = {"speech": (noise(16, 15) > 0).float()}
    batch = Masked(**{name: getattr(clips, name) for name in names}, masks=masks)
    result, drawn = MixUp(alpha=1.0, p=0.5).with_parameters(batch)
    share = torch.where(drawn["chosen"], drawn["share"], 1.0).float()[:, None]
    expected = share * masks["speech"] + (1 - share) * masks["speech"][drawn["partner"]]
    torch.testing.assert_close(result.masks["speech"], expected)
    with pytest.raises(InputError, match=r"CutMix would move audio away from under batch.masks"):
        CutMix()(batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"on": "labels"}, "choose audio or features"),
        ({"labels": "or"}, "choose mix or union"),
        ({"classes": 0}, "classes is 0"),
    ],
)
def test_options_that_can_not_be_are_refused(options, message):
    for step in (MixUp, CutMix):
        with pytest.raises(InputError, match=message):
            step(**options)


def test_what_can_not_be_mixed_is_refused():
    batch = batch_of(4)
    with pytest.raises(InputError, match="MixUp on features: the batch has none"):
        MixUp(on="features")(dataclasses.replace(batch, features=None))
    with pytest.raises(InputError, match=r"labels are torch.int64"):
        MixUp()(dataclasses.replace(batch, labels=batch.labels.long()))
