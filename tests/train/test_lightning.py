"""Under PyTorch Lightning, a run resumed from any checkpoint trains on what the uninterrupted one would have."""

from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader

from shardkit.core.errors import InputError, StateError
from shardkit.stream.dataset import open_dataset
from shardkit.train import Loader, StreamingDataset
from tests.train.stream_facts import facts

lightning = pytest.importorskip("lightning.pytorch")
callbacks = pytest.importorskip("lightning.pytorch.callbacks")

from shardkit.train.lightning import StreamState  # noqa: E402  only where Lightning is

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # Python 3.12: there are other threads
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata 0.11 beside torch 2.14
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),  # Lightning 2.6 beside torch 2.14
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),  # advice on speed
    pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined:UserWarning"),  # ours is right
    pytest.mark.filterwarnings("ignore:.*your dataloader is not resumable:UserWarning"),  # DataLoader; StreamState is
    pytest.mark.filterwarnings("ignore:Length of IterableDataset:UserWarning"),  # StatefulDataLoader, a pass resumed
    pytest.mark.filterwarnings("ignore:.*was called without a model:UserWarning"),  # by OnExceptionCheckpoint itself
    pytest.mark.filterwarnings("ignore:.*there is no last checkpoint available:UserWarning"),  # the same
    pytest.mark.filterwarnings("ignore:Checkpoint directory:UserWarning"),  # it has checkpoints, on purpose
]

# What a run is: options of the stream, limits of the Trainer, and the checkpoints to resume from: in the middle of an
# epoch, at its end, and after the first step of the next.
SCHEDULES = {
    "endless": ({}, {"max_steps": 6}, (1, 3)),
    "endless in epochs": ({}, {"max_epochs": 3, "limit_train_batches": 3}, (2, 3, 4)),
    "endless in epochs by steps": ({}, {"max_epochs": -1, "max_steps": 7, "limit_train_batches": 3}, (2, 3, 4)),
    "passes": ({"passes": 1, "batch_size": 8}, {"max_epochs": 3}, (2, 3, 4)),
    "passes by steps": ({"passes": 1, "batch_size": 8}, {"max_epochs": -1, "max_steps": 7}, (2, 3, 4)),
    "parts of passes": ({"passes": 1, "batch_size": 4}, {"max_epochs": 3, "limit_train_batches": 3}, (2, 3, 4)),
}


def stateful_of(stream, **options):
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    return stateful(StreamingDataset(stream), batch_size=None, **options)


LOADERS = {
    "Loader": lambda stream: Loader(stream, device="cpu"),
    "Loader, 2 workers": lambda stream: Loader(stream, device="cpu", workers=2),
    "DataLoader": lambda stream: DataLoader(StreamingDataset(stream), batch_size=None),
    "DataLoader, 2 workers": lambda stream: DataLoader(StreamingDataset(stream), batch_size=None, num_workers=2),
    "StatefulDataLoader": stateful_of,
}


class Model(lightning.LightningModule):
    """Notes what it is given, and fails in one step if asked to."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.weight = torch.nn.Linear(1, 1)
        self.fail_at = fail_at
        self.trained = []

    def training_step(self, batch, batch_idx):
        if len(self.trained) == self.fail_at:
            raise ZeroDivisionError
        self.trained.append(facts([batch]))
        return self.weight(batch.audio.mean().reshape(1, 1)).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


class ValidatedModel(Model):
    """Notes the keys of each validation, too."""

    def __init__(self):
        super().__init__()
        self.validated = []

    def on_validation_epoch_start(self):
        self.validated.append([])

    def validation_step(self, batch, batch_idx):
        self.validated[-1] += [key for key, valid in zip(batch.keys, batch.valid.tolist(), strict=True) if valid]


def trainer_of(stream, folder, *more, **options):
    """A trainer that writes a checkpoint after every step."""
    saving = callbacks.ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return lightning.Trainer(accelerator="cpu", callbacks=[StreamState(stream), saving, *more], **quiet, **options)


def fit(stream, loader, folder, *, resume=None, **options):
    """The facts of each batch that was trained on."""
    model = Model()
    trainer_of(stream, folder, **options).fit(model, loader, ckpt_path=resume and folder / resume)
    return model.trained


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_resumed_run_trains_on_what_the_uninterrupted_one_does(make_stream, tmp_path, schedule, loader):
    options, limits, resume_after = SCHEDULES[schedule]
    stream = make_stream(**options)
    uninterrupted = fit(stream, LOADERS[loader](stream), tmp_path, **limits)
    if "passes" not in options:
        whole = make_stream(**options)
        assert uninterrupted == [facts([batch]) for batch in islice(whole, len(uninterrupted))]
    for num_steps in resume_after:
        stream = make_stream(**options)
        resumed = fit(stream, LOADERS[loader](stream), tmp_path, resume=f"step={num_steps}.ckpt", **limits)
        assert resumed == uninterrupted[num_steps:]


def test_a_pass_is_an_epoch(make_stream, tmp_path):
    stream = make_stream(passes=1, batch_size=8)
    trained = fit(stream, Loader(stream, device="cpu"), tmp_path, max_epochs=3)
    assert trained == 3 * [facts([batch]) for batch in make_stream(passes=1, batch_size=8)]


@pytest.mark.parametrize("loader", ["Loader", "Loader, 2 workers", "DataLoader, 2 workers"])
def test_a_step_that_failed_is_done_again(make_stream, tmp_path, loader):
    stream = make_stream()
    uninterrupted = fit(stream, LOADERS[loader](stream), tmp_path, max_steps=6)
    stream, failing = make_stream(), Model(fail_at=3)
    saving = callbacks.OnExceptionCheckpoint(tmp_path, filename="failed")
    with pytest.raises(ZeroDivisionError):
        trainer_of(stream, tmp_path, saving, max_steps=6).fit(failing, LOADERS[loader](stream))
    stream = make_stream()
    resumed = fit(stream, LOADERS[loader](stream), tmp_path, resume="failed.ckpt", max_steps=6)
    assert failing.trained + resumed == uninterrupted


@pytest.mark.parametrize("loader", LOADERS)
def test_every_validation_hears_the_whole_pass_though_two_batches_were_tried_before(
    bursts, make_stream, tmp_path, loader
):
    stream, validation = make_stream(), make_stream(passes=1, batch_size=4)
    model = ValidatedModel()
    trainer = trainer_of(stream, tmp_path, max_epochs=2, limit_train_batches=2, num_sanity_val_steps=2)
    trainer.fit(model, Loader(stream, device="cpu"), LOADERS[loader](validation))
    sanity, *validated = model.validated
    assert len(sanity) == 8
    assert [sorted(keys) for keys in validated] == 2 * [sorted(open_dataset(bursts).keys())]


def test_a_checkpoint_of_another_stream_is_refused(make_stream, tmp_path):
    stream = make_stream()
    fit(stream, Loader(stream, device="cpu"), tmp_path, max_steps=1)
    other = make_stream(seed=8)
    with pytest.raises(StateError, match="seed"):
        fit(other, Loader(other, device="cpu"), tmp_path, resume="step=1.ckpt", max_steps=2)


def test_what_could_not_resume_exactly_is_refused_before_the_first_step(make_stream, tmp_path):
    stream = make_stream()
    workers = {"num_workers": 2, "multiprocessing_context": "fork"}
    persistent = DataLoader(StreamingDataset(stream), batch_size=None, persistent_workers=True, **workers)
    for loader in (stateful_of(stream, **workers), persistent):
        with pytest.raises(InputError, match="keep their own place"):
            fit(stream, loader, tmp_path, max_steps=1)
    with pytest.raises(InputError, match="another stream"):
        fit(stream, Loader(make_stream(), device="cpu"), tmp_path, max_steps=1)
    with pytest.raises(InputError, match="rank 1 of 2, but Lightning's is 0 of 1"):
        fit(make_stream(rank=1, world_size=2), Loader(stream, device="cpu"), tmp_path, max_steps=1)
    with pytest.raises(InputError, match="stream is a Loader"):
        StreamState(Loader(stream))
