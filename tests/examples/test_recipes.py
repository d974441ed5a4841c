"""The recipes of docs/recipes.md: their formulas, their ranks, and that they learn."""

import importlib.util
import math
import os
import re
import shlex
import subprocess
import sys
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import timm
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

import shardkit as sk
from shardkit.nn import LEAF, SincNet
from shardkit.train import Loader

ROOT = Path(__file__).resolve().parents[2]
TEXT = ROOT.joinpath("docs", "recipes.md").read_text()
TORCHRUN = "-m torch.distributed.run --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint 127.0.0.1:0 --local-addr"
SHORT = ["--crop-s", "0.4", "--global-batch", "32", "--every", "1"]  # for the digits, which take 0.4 s


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SUPERVISED, CONTRASTIVE = example("train_supervised"), example("train_contrastive")


@pytest.fixture(scope="module")
def packed(data_dir, tmp_path_factory):
    """Datasets of every third take of the digits, packed as the page says, by the targets they are for."""
    folder = tmp_path_factory.mktemp("digits")
    (folder / "recordings").mkdir()
    for path in sorted((data_dir / "digits").glob("*.wav")):
        if int(path.stem.split("_")[2]) % 3 == 0:
            (folder / "recordings" / path.name).symlink_to(path.resolve())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
        exec(code, {})  # noqa: S102  our own documentation
        (lines,) = re.findall(r"```bash\n(.*?)```", TEXT, flags=re.DOTALL)
        for line in lines.splitlines():
            command = [sys.executable, "-m", *shlex.split(line)]
            subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    return {"multiclass": folder / "shards" / "digits", "multilabel": folder / "shards" / "tags"}


@pytest.fixture(autouse=True)
def no_group_left(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def run(module: ModuleType, *arguments):
    return module.run(module.parser().parse_args([str(argument) for argument in arguments]))


def run_on_two_ranks(name: str, *arguments) -> str:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, *TORCHRUN.split(), "127.0.0.1", f"examples/{name}.py", *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def losses(output: str) -> list[float]:
    return [float(loss) for loss in re.findall(r"^step \d+: loss.* ([\d.]+)$", output, re.MULTILINE)]


@given(st.integers(2, 40), st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_metrics_are_scikit_learns_with_equal_scores_too(num_clips, num_classes, num_levels, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, num_levels, (num_clips, num_classes)).astype(float)
    targets = rng.random((num_clips, num_classes)) < 0.4
    targets[0], targets[1] = True, False
    found = SUPERVISED.metrics(scores, targets)
    assert found["mAP"] == pytest.approx(average_precision_score(targets, scores, average="macro"))
    auc = roc_auc_score(targets, scores, average="macro")
    assert found["AUC"] == pytest.approx(auc)
    assert found["d′"] == pytest.approx(math.sqrt(2.0) * norm.ppf(auc))


def test_a_class_that_no_clip_or_each_has_is_left_out():
    scores, targets = np.array([[0.1, 0.9, 0.3], [0.8, 0.2, 0.4]]), np.array([[0, 0, 1], [1, 0, 1]], dtype=bool)
    found = SUPERVISED.metrics(scores, targets)
    assert (found["classes"], found["mAP"], found["AUC"]) == (1, 1.0, 1.0)


def test_cola_loss_is_its_formula():
    torch.manual_seed(0)
    anchors, positives, bilinear = (torch.randn(*size, dtype=torch.float64) for size in ((6, 4), (6, 4), (4, 4)))
    expected = 0.0
    for i in range(6):
        similar = [float(anchors[i] @ bilinear @ positives[j]) for j in range(6)]
        expected -= math.log(math.exp(similar[i]) / sum(map(math.exp, similar))) / 6
    assert CONTRASTIVE.cola_loss(anchors, positives, bilinear).item() == pytest.approx(expected)
    parts = [CONTRASTIVE.cola_loss(anchors[i : i + 2], positives, bilinear, first=i) for i in (0, 2, 4)]
    assert torch.stack(parts).mean().item() == pytest.approx(expected), "the mean over ranks is that of one"


def test_nt_xent_is_its_formula():
    torch.manual_seed(0)
    firsts, seconds = torch.randn(2, 5, 4, dtype=torch.float64)
    crops = torch.cat([firsts, seconds])
    expected = 0.0
    for i in range(10):
        similar = [math.exp(float(crops[i] @ crops[j] / crops[i].norm() / crops[j].norm()) / 0.1) for j in range(10)]
        expected -= math.log(similar[(i + 5) % 10] / (sum(similar) - similar[i])) / 10
    assert CONTRASTIVE.nt_xent(firsts, seconds, crops).item() == pytest.approx(expected)
    parts = [CONTRASTIVE.nt_xent(firsts[i : i + 1], seconds[i : i + 1], crops, first=i) for i in range(5)]
    assert torch.stack(parts).mean().item() == pytest.approx(expected), "the mean over ranks is that of one"


@pytest.mark.parametrize("objective", ["cola", "simclr"])
def test_loss_and_gradients_of_two_ranks_are_those_of_one(packed, tmp_path, capsys, objective):
    options = [packed["multiclass"], "--objective", objective, "--backbone", "test_convnext", *SHORT]
    options += ["--steps", 1, "--probe-clips", 64, "--probe-crop-s", 0.4, "--checkpoint"]
    two = run_on_two_ranks("train_contrastive", *options, tmp_path / "two.pt")
    run(CONTRASTIVE, *options, tmp_path / "one.pt")
    one = capsys.readouterr().out
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    moments = [_first_moments(tmp_path / f"{name}.pt") for name in ("one", "two")]
    # Of AdamW's first step they are a tenth of the gradient.
    assert torch.linalg.vector_norm(moments[0]) > 0
    assert torch.linalg.vector_norm(moments[0] - moments[1]) < 1e-4 * torch.linalg.vector_norm(moments[0])


def _first_moments(path: Path) -> torch.Tensor:
    state = torch.load(path, weights_only=True)["optimizer"]["state"]
    return torch.cat([state[index]["exp_avg"].flatten() for index in sorted(state)])


def test_a_rank_alone_would_have_fewer_negatives():
    """What the one above would not see if the loss did not depend on them."""
    torch.manual_seed(0)
    firsts, seconds, bilinear = torch.randn(8, 4), torch.randn(8, 4), torch.eye(4)
    alone = [CONTRASTIVE.cola_loss(firsts[i : i + 4], seconds[i : i + 4], bilinear) for i in (0, 4)]
    assert torch.stack(alone).mean() < CONTRASTIVE.cola_loss(firsts, seconds, bilinear) - 0.1


@pytest.mark.parametrize("objective", ["cola", "simclr"])
def test_what_is_learned_without_labels_tells_digits_apart(packed, capsys, objective):
    run(CONTRASTIVE, packed["multiclass"], "--objective", objective, *SHORT, "--steps", 30, "--probe-crop-s", 0.6)
    printed = capsys.readouterr().out
    untrained, trained = (float(share) for share in re.findall(r"linear probe ([\d.]+)%", printed))
    found = losses(printed)
    assert np.mean(found[-5:]) < 0.9 * math.log(32 if objective == "cola" else 63), (
        "better than guessing the other crop"
    )
    assert trained > untrained + 2.0


def test_a_contrastive_run_goes_on_from_its_checkpoint(packed, tmp_path, capsys):
    options = [packed["multiclass"], "--backbone", "test_convnext", *SHORT, "--steps", 3]
    options += ["--probe-clips", 64, "--probe-crop-s", 0.4]
    run(CONTRASTIVE, *options, "--checkpoint", tmp_path / "whole.pt")
    whole = capsys.readouterr().out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CONTRASTIVE, "report", _stop_after("step 2"))
        with pytest.raises(_StoppedError):
            run(CONTRASTIVE, *options, "--checkpoint", tmp_path / "parts.pt")
    dist.destroy_process_group()
    run(CONTRASTIVE, *options, "--checkpoint", tmp_path / "parts.pt")
    assert losses(capsys.readouterr().out) == losses(whole)[2:]


class _StoppedError(Exception):
    pass


def _stop_after(beginning: str):
    def report(text: str) -> None:
        if text.startswith(beginning):
            raise _StoppedError

    return report


def test_clips_of_one_label_are_learned(packed, capsys):
    found = run(SUPERVISED, packed["multiclass"], *SHORT, "--crop-s", 0.5, "--steps", 60, "--mixup", 0, "--lr", 0.03)
    loss = losses(capsys.readouterr().out)
    assert np.mean(loss[-5:]) < np.mean(loss[:5]) - 0.3
    assert found["top-1"] > 0.3, "chance is 0.1"
    assert found["clips"] == len(sk.open(packed["multiclass"], split="test"))


@pytest.mark.parametrize("frontend", ["leaf", "sincnet"])
def test_clips_of_several_labels_are_learned_with_a_frontend_that_learns_too(packed, tmp_path, capsys, frontend):
    options = ["--frontend", frontend, "--targets", "multilabel", *SHORT, "--crop-s", 0.6, "--lr", 3e-2]
    found = run(SUPERVISED, packed["multilabel"], *options, "--steps", 20, "--checkpoint", tmp_path / "net.pt")
    loss = losses(capsys.readouterr().out)
    assert np.mean(loss[-5:]) < np.mean(loss[:5]) - 0.1
    assert found["classes"] == 16
    assert found["AUC"] > 0.55, "chance is 0.5"
    trained = torch.load(tmp_path / "net.pt", weights_only=True)["model"]
    new = {"leaf": LEAF, "sincnet": SincNet}[frontend](sample_rate=8_000)
    for name, parameter in new.named_parameters():
        assert not torch.equal(trained[f"frontend.{name}"], parameter), f"{name} is as it was"


def test_two_ranks_train_and_one_rank_finds_their_metrics(packed, tmp_path, capsys):
    options = [packed["multilabel"], "--targets", "multilabel", "--backbone", "test_convnext", *SHORT, "--steps", 3]
    two = run_on_two_ranks("train_supervised", *options, "--checkpoint", tmp_path / "net.pt")
    found = run(SUPERVISED, *options, "--checkpoint", tmp_path / "net.pt")
    one = capsys.readouterr().out
    assert "step 0 of 3, 32 clips each, on 2 ranks" in two
    assert "step 3 of 3, 32 clips each, on 1 ranks" in one
    assert found["clips"] % 32, "the last batch has to be padded for this to show anything"
    assert re.findall("^test: .*", two, re.MULTILINE) == re.findall("^test: .*", one, re.MULTILINE)


def test_a_resumed_run_ends_in_the_same_weights_dropped_paths_and_all(packed, tmp_path, monkeypatch):
    options = [packed["multiclass"], "--backbone", "test_convnext", "--drop-path", 0.5, *SHORT, "--steps", 4]
    whole = run(SUPERVISED, *options, "--checkpoint", tmp_path / "whole.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SUPERVISED, "report", _stop_after("step 2:"))
        with pytest.raises(_StoppedError):
            run(SUPERVISED, *options, "--checkpoint", tmp_path / "parts.pt")
    dist.destroy_process_group()
    torch.rand(7)  # whatever the generator was at
    assert run(SUPERVISED, *options, "--checkpoint", tmp_path / "parts.pt") == whole
    one, other = (torch.load(tmp_path / f"{name}.pt", weights_only=True)["model"] for name in ("whole", "parts"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_stochastic_depth_reaches_the_blocks_of_convnext():
    args = SUPERVISED.parser().parse_args(["DATASET", "--backbone", "convnext_atto", "--drop-path", "0.2"])
    net = SUPERVISED.Net(args, sample_rate=16_000, num_classes=3)
    rates = [module.drop_prob for module in net.modules() if isinstance(module, timm.layers.DropPath)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.2)
    assert len(rates) >= 11, "of 12 blocks, the first of which drops nothing"


def test_recordings_without_exactly_one_label_are_no_classes_of_one_label(packed):
    with pytest.raises(SystemExit, match=r"^900 of 900 rec.* '\d_\w+' with \['\d', '\w+'\].*--targets m"):
        run(SUPERVISED, packed["multilabel"], "--targets", "multiclass", *SHORT)


def test_a_checkpoint_of_something_else_is_refused(packed, tmp_path):
    options = [packed["multiclass"], *SHORT, "--steps", 1, "--checkpoint", tmp_path / "net.pt"]
    run(SUPERVISED, *options)
    with pytest.raises(SystemExit, match=r"net.pt is of .*'test_resnet'.*'test_convnext'.*name another"):
        run(SUPERVISED, *options, "--backbone", "test_convnext")


def test_pairs_are_two_crops_also_of_recordings_that_are_evaluated(packed):
    view = sk.open(packed["multiclass"], split="test").where("duration_s > 0.5")
    (batch, *_) = sk.Stream(view, crop=sk.RandomCrop(0.3), views=2, batch_size=32, passes=1)
    assert batch.keys[0::2] == batch.keys[1::2]
    assert (batch.starts[0::2] != batch.starts[1::2]).mean() > 0.9


def test_the_second_crop_of_a_pair_is_changed_and_the_first_is_not(packed):
    stream = sk.Stream(sk.open(packed["multiclass"], split="train"), crop=sk.RandomCrop(0.4), views=2, batch_size=8)
    (batch,) = islice(Loader(stream, device="cpu"), 1)
    pairs = CONTRASTIVE.Pairs(stream.sample_rate)
    plain, found = pairs.log_mel(batch.audio), pairs(batch).features
    assert torch.equal(found[0::2], plain[0::2])
    assert not any(torch.equal(row, other) for row, other in zip(found[1::2], plain[1::2], strict=True))


def test_the_commands_of_the_page_are_what_the_examples_take():
    commands = re.findall(r"examples/(train_\w+)\.py (.*)$", TEXT.split("## What a minute gave")[0], re.MULTILINE)
    assert {name for name, _ in commands} == {"train_supervised", "train_contrastive"}
    for name, options in commands:
        {"train_supervised": SUPERVISED, "train_contrastive": CONTRASTIVE}[name].parser().parse_args(options.split())


def test_the_tests_that_the_page_names_are_there():
    named = set(re.findall(r"`(tests/\S+)`", TEXT))
    assert named
    assert all((ROOT / path).is_file() for path in named)
