"""With Hugging Face Accelerate, ``register_for_checkpointing(loader)`` is all that exact resumption takes."""

from itertools import islice

import pytest
import torch

from shardkit.train import Loader
from tests.train.stream_facts import facts

accelerate = pytest.importorskip("accelerate")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # Python 3.12: there are other threads
    pytest.mark.filterwarnings("ignore:.*_get_vc_env is private:UserWarning"),  # distutils, as torch imports it
]

NUM_BATCHES = 6


class Run:
    """A training script: model and optimizer through ``prepare``, the loader registered."""

    def __init__(self, stream, workers=0):
        self.accelerator = accelerate.Accelerator(cpu=True)
        model = torch.nn.Linear(1, 1)
        self.model, self.optimizer = self.accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.01))
        self.loader = Loader(stream, device=self.accelerator.device, workers=workers)
        self.accelerator.register_for_checkpointing(self.loader)

    def train(self, num_batches):
        """The facts of the batches that were trained on."""
        trained = []
        for batch in islice(self.loader, num_batches):
            self.accelerator.backward(self.model(batch.audio.mean().reshape(1, 1)).sum())
            self.optimizer.step()
            self.optimizer.zero_grad()
            trained += facts([batch])
        return trained


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("num_steps", [0, 1, 4])
def test_a_loaded_state_goes_on_where_it_was_saved(make_stream, tmp_path, num_steps, workers):
    first = Run(make_stream(), workers)
    head = first.train(num_steps)
    first.accelerator.save_state(tmp_path)
    first.train(1)  # what comes after the checkpoint is not in it
    resumed = Run(make_stream(), workers)
    resumed.accelerator.load_state(tmp_path)
    assert head + resumed.train(NUM_BATCHES - num_steps) == facts(islice(make_stream(), NUM_BATCHES))


def test_prepare_leaves_the_loader_as_it_is(make_stream):
    loader = Loader(make_stream(), device="cpu")
    assert accelerate.Accelerator(cpu=True).prepare(loader) is loader
