"""The examples of docs/training.md run, and each resumes as it says."""

import re
from itertools import islice
from pathlib import Path

import pytest

from tests.train.stream_facts import facts

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # Python 3.12: there are other threads
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata 0.11 beside torch 2.14
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),  # Lightning 2.6 beside torch 2.14
    pytest.mark.filterwarnings("ignore:Starting from v1.9.0, `tensorboardX`:UserWarning"),  # Lightning, without it
    pytest.mark.filterwarnings("ignore:.*no last checkpoint available:UserWarning"),  # Lightning, the first time
    pytest.mark.filterwarnings("ignore:Checkpoint directory:UserWarning"),  # Lightning, the second time
    pytest.mark.filterwarnings("ignore:.*_get_vc_env is private:UserWarning"),  # distutils, as torch imports it
]

TEXT = Path(__file__).resolve().parents[2].joinpath("docs", "training.md").read_text()
EXAMPLES = [
    (section.partition("\n")[0].strip("# "), code)
    for section in re.split(r"^(?=#)", TEXT, flags=re.MULTILINE)
    for code in re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
]
TRAINING = [
    pytest.param(code, id=title)
    for title, code in EXAMPLES
    if "STEPS_PER_CHECKPOINT" in code and "def open_stream" not in code
]
NEEDS = {"Accelerator": "accelerate", "lightning": "lightning", "Stateful": "torchdata"}


class StopError(Exception):
    """Ends a run in the middle of an iteration."""


@pytest.fixture
def namespace(bursts, tmp_path, monkeypatch):
    """What the first example defines, in a folder where the dataset that it opens is."""
    monkeypatch.chdir(tmp_path)
    Path("shards").mkdir()
    Path("shards/speech").symlink_to(bursts)
    names = {}
    exec(EXAMPLES[0][1], names)  # noqa: S102  our own documentation
    return names | {"STEPS_PER_CHECKPOINT": 2}


def run_until(num_steps, code, names):
    """The facts of each batch of a run that is stopped in a step."""
    given = []

    def train_step(batch):
        if len(given) == num_steps:
            raise StopError
        given.append(facts([batch]))

    with pytest.raises(StopError):
        exec(code, names | {"train_step": train_step, "model": model_of(train_step)})  # noqa: S102
    return given


def model_of(train_step):
    lightning = pytest.importorskip("lightning.pytorch")
    torch = pytest.importorskip("torch")

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Linear(1, 1)

        def training_step(self, batch, batch_idx):
            train_step(batch)
            return self.weight(batch.audio.mean().reshape(1, 1)).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01)

    return Model()


@pytest.mark.parametrize("code", TRAINING)
def test_an_example_stopped_and_run_again_is_the_uninterrupted_run(namespace, code):
    for word, package in NEEDS.items():
        if word in code:
            pytest.importorskip(package)
    first = run_until(5, code, namespace)
    second = run_until(4, code, namespace)
    assert first[:4] + second == [facts([batch]) for batch in islice(namespace["open_stream"](), 8)]


def test_the_evaluation_counts_each_row_once(namespace):
    (code,) = (code for title, code in EXAMPLES if title == "Evaluation")
    exec(code, namespace)  # noqa: S102
    assert namespace["count"] == namespace["loader"].stream.num_samples
    assert namespace["total"] > 0


def test_the_stats_are_told_in_words(namespace, capsys):
    (code,) = (code for title, code in EXAMPLES if title.startswith("Does training wait"))
    exec(code, namespace)  # noqa: S102
    assert re.fullmatch(r"(nothing|reading), \d+% of the time; [\d.]+ batches lay ready\n", capsys.readouterr().out)


def test_no_example_is_left_out():
    assert len(EXAMPLES) == 1 + len(TRAINING) + 2
