"""The trial: a good model of every task passes, a damaged one ends its own process at most, a wrong answer is refused."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from chaos.harness import wait_until
from made_companions import made_companions
from made_models import PRODUCTS, graph, write_model
from made_network import network_arrays
from onnx import TensorProto, helper

from features.errors import ModelError, StoreError
from features.processes.running import TOKEN, carriers
from features.scoring import trial as trial_process
from features.scoring.churn import SCORE_FILE as CHURN_FILE
from features.scoring.item_tables import COMPANIONS_FILE, Neighbours
from features.scoring.network.halves import SplitNetwork
from features.scoring.next_product import POPULARITY_NAME, VOCABULARY_FILE, ProductFiles
from features.scoring.trial import Verdict, try_model
from features.scoring.win_back import SCORE_FILE as WIN_BACK_FILE
from features.vocabulary import Task
from serving.scorers.model_card import ModelCard
from serving.scorers.next_product import ProductScorer
from serving.scorers.sample_customers import sample_customers
from serving.scorers.trial import judge, need_scores_of_graph

Harm = Callable[[Path], None]


def judged(task: Task, folder: Path) -> str:
    """What the trial says, in this process: for models that are read without harm."""
    return judge(ModelCard(task, "7", ""), folder).reason


@pytest.mark.parametrize("task", Task)
def test_a_good_model_passes(tmp_path: Path, task: Task) -> None:
    assert judge(ModelCard(task, "7", ""), write_model(task, tmp_path / "model")) == Verdict()


def test_in_a_process_of_its_own_it_says_the_same(tmp_path: Path) -> None:
    folder = write_model(Task.WIN_BACK, tmp_path / "model")
    assert try_model(Task.WIN_BACK, "7", folder) == Verdict()
    (folder / "artifacts/win_back" / WIN_BACK_FILE).write_text("{")
    verdict = try_model(Task.WIN_BACK, "7", folder)
    assert "JSONDecodeError" in verdict.reason and not verdict.uncertain


def test_the_made_customers_are_of_all_kinds() -> None:
    states, as_of_s = sample_customers(PRODUCTS)
    assert len(states) == len(as_of_s) == 44
    occasions = states.scalar("n_occasions")
    assert np.isnan(states.scalar("first_seen")[0])  # nobody
    assert (occasions == 0).any() and (occasions == 1).any() and (occasions > 100).any()
    assert np.isfinite(states.scalar("contract_since")).sum() == 4
    assert as_of_s.max() - as_of_s.min() == 400 * 86_400


def forked(task: Task, folder: Path) -> str:
    """How a process ends that tries a model as the trial does: without the seconds that a new one takes to import."""
    verdict = folder.parent / "verdict.json"
    verdict.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        out = os.open(os.devnull, os.O_WRONLY)
        os.dup2(out, 1)
        os.dup2(out, 2)
        try:
            verdict.write_text(judged(task, folder) or "good")
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    assert verdict.exists(), "it ended without a word"
    return verdict.read_text()


@pytest.mark.parametrize("task", Task)
def test_without_digests_half_a_file_ends_the_trial_at_most(tmp_path: Path, task: Task) -> None:
    """As of versions that were trained before digests were kept."""
    model = write_model(task, tmp_path / "model")
    for name in sorted(path.relative_to(model) for path in model.rglob("*") if path.is_file()):
        for number, harm in enumerate((lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:-1000], None)):
            folder = shutil.copytree(model, tmp_path / "harmed")
            content = (folder / name).read_bytes()
            (folder / name).unlink()
            if harm is not None:
                (folder / name).write_bytes(harm(content))
            said = forked(task, folder)
            shutil.rmtree(folder)
            optional = name.name in ("MLmodel", CHURN_FILE, "effects.json", "ranker.txt", COMPANIONS_FILE) or (
                "horizon" in name.name
            )
            assert said != "good" or optional, (name, number)


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_end_the_trial_at_most(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for task in Task:
        model = write_model(task, tmp_path / task.value)
        for path in sorted(path for path in model.rglob("*") if path.is_file()):
            before = path.read_bytes()
            content = bytearray(before)
            for _ in range(rng.choice((1, 8))):
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            path.write_bytes(content)
            assert forked(task, model)  # whatever it is: a verdict or a signal, and this process goes on
            path.write_bytes(before)


def rewrite(name: str, old: str, new: str) -> Harm:
    def harm(folder: Path) -> None:
        (path,) = folder.rglob(name)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return harm


def with_leaf(name: str, value: str) -> Harm:
    """One leaf of one tree: no made customer need come there."""

    def harm(folder: Path) -> None:
        (path,) = folder.rglob(name)
        lines = path.read_text().splitlines(keepends=True)
        number = max(i for i, line in enumerate(lines) if line.startswith("leaf_value="))
        lines[number] = f"leaf_value={value} " + lines[number].split(" ", 1)[1]
        path.write_text("".join(lines))

    return harm


def with_companions(**said: object) -> Harm:
    return lambda folder: made_companions(len(PRODUCTS), **said).save(folder / "extra_files" / COMPANIONS_FILE)


def with_graph(n_products: int, weight: float) -> Harm:
    return lambda folder: onnx.save(graph(n_products, weight), str(folder / "model.onnx"))


def with_outside_array(folder: Path) -> None:
    model = graph(len(PRODUCTS))
    onnx.save(model, str(folder / "model.onnx"), save_as_external_data=True, location="array", size_threshold=0)


TIED_BEYOND = Neighbours(np.full((7, 2), 7, np.int32), np.zeros((7, 2), np.float32))
TIED_BEFORE = Neighbours(np.full((7, 2), -1, np.int32), np.zeros((7, 2), np.float32))


@pytest.mark.parametrize(
    ("task", "harm", "said"),
    [
        (Task.CHURN, rewrite(CHURN_FILE, '"slope": 1.0', '"slope": NaN'), "Its score holds nan"),
        (Task.CHURN, rewrite(CHURN_FILE, '"shift": 0.0', '"shift": 1e999'), "Its score holds inf"),
        (Task.CHURN, rewrite(CHURN_FILE, '"alpha": 11.0', '"alpha": -50.0'), "Its chance of leaving|Its reasons"),
        (Task.CHURN, rewrite(CHURN_FILE, '"horizon_days": 28.0', '"horizon_days": -1.0'), "Its expected purchases are below 0"),
        (Task.CHURN, rewrite("horizon_56.json", '"slope": 1.0', '"slope": Infinity'), "Its score holds inf"),
        (Task.CHURN, with_leaf("model.lgb", "nan"), "trees.* is (nan|inf), which is no number"),
        (Task.CHURN, with_leaf("horizon_56.lgb", "inf"), "trees.* is (nan|inf), which is no number"),
        (Task.BEST_CHANNEL, with_leaf("post_a.txt", "nan"), "trees.* is (nan|inf), which is no number"),
        (Task.BEST_CHANNEL, with_leaf("effect_post_a.txt", "nan"), "trees.* is (nan|inf), which is no number"),
        (Task.BEST_CHANNEL, rewrite("arms.json", '"cost": 0.6', '"cost": 1e999'), "post_a costs inf"),
        (Task.BEST_CHANNEL, rewrite("arms.json", '"post_a"', '"email_news"'), "Its arms are"),
        (Task.BEST_CHANNEL, rewrite("arms.json", '"post_a"', '"../../etc/hostname"'), "no name of a file beside it"),
        (Task.BEST_CHANNEL, rewrite("arms.json", '"cost": 0.6', '"hours": [8, 99]'), r"in the hours \(8, 99\)"),
        (Task.BEST_CHANNEL, rewrite("effects.json", '"slope": 0.5', '"slope": NaN'), "Its effects holds nan"),
        (Task.BEST_CHANNEL, rewrite("effects.json", "effect_post_a.txt", "/etc/hostname"), "no name of a file"),
        (Task.BEST_CHANNEL, rewrite("effects.json", '"means": [-0.5', '"means": [1e999'), "Its effects"),
        (Task.NEXT_PRODUCT, with_graph(len(PRODUCTS), float("nan")), "Its score of a product is nan"),
        (Task.NEXT_PRODUCT, with_graph(len(PRODUCTS), float("inf")), "Its score of a product is"),
        (Task.NEXT_PRODUCT, with_graph(len(PRODUCTS) - 2, 1.0), "Its scores have the shape"),
        (Task.NEXT_PRODUCT, with_outside_array, "keeps arrays in other files"),
        (Task.NEXT_PRODUCT, rewrite(VOCABULARY_FILE, '"tea"', '"milk"'), "It knows a product twice"),
        (Task.NEXT_PRODUCT, rewrite(VOCABULARY_FILE, '"tea"', "null"), "cannot be loaded and asked|no id"),
        (Task.NEXT_PRODUCT, with_leaf("ranker.txt", "nan"), "trees.* is (nan|inf), which is no number"),
        (Task.NEXT_PRODUCT, with_companions(rules=TIED_BEYOND), "Its rules name products that it does not have"),
        (Task.NEXT_PRODUCT, with_companions(pairs=TIED_BEFORE), "Its pairs name products that it does not have"),
        (Task.NEXT_PRODUCT, with_companions(category=np.full(7, 9, np.int32)), "Its category name"),
        (Task.NEXT_PRODUCT, with_companions(half_life_days=np.zeros(2, np.float32)), "half-lives are not above 0"),
        (Task.NEXT_PRODUCT, with_companions(popularity=np.full((7, 4), np.nan, np.float32)), "The popularity of its"),
        (Task.WIN_BACK, rewrite(WIN_BACK_FILE, '"shift": 0.1', '"shift": NaN'), "Its score holds nan"),
        (Task.WIN_BACK, rewrite(WIN_BACK_FILE, "0.01", "Infinity"), "Its score is inf"),
        (Task.WIN_BACK, lambda folder: (folder / "MLmodel").unlink(), "holds no file MLmodel"),
    ],
)  # fmt: skip
def test_a_model_whose_answers_are_none_is_refused(tmp_path: Path, task: Task, harm: Harm, said: str) -> None:
    folder = write_model(task, tmp_path / "model")
    harm(folder)
    reason = judged(task, folder)
    assert re.search(said, reason), reason


def test_trees_that_were_cut_at_a_good_place_are_refused(tmp_path: Path) -> None:
    folder = write_model(Task.CHURN, tmp_path / "model")
    (path,) = folder.rglob("model.lgb")
    text = path.read_text()
    path.write_text(text[: text.index("end of trees")])
    assert "model.lgb ends too early" in judged(Task.CHURN, folder)


class FakeProcess:
    """A trial that ends as it is told to."""

    pid = 0

    def __init__(self, status: int) -> None:
        self.status = status

    def wait(self, timeout_s: float | None = None) -> int:
        return self.status


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (-signal.SIGSEGV, Verdict("Loading or asking it ended the process (SIGSEGV).")),
        (-signal.SIGABRT, Verdict("Loading or asking it ended the process (SIGABRT).")),
        (1, Verdict("Loading or asking it ended the process (status 1).")),
        (-signal.SIGKILL, Verdict("Loading and asking it was ended by SIGKILL.", uncertain=True)),
        (-signal.SIGXCPU, Verdict("Loading and asking it was ended by SIGXCPU.", uncertain=True)),
    ],
)
def test_how_the_process_ended_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, verdict: Verdict
) -> None:
    monkeypatch.setattr(trial_process.subprocess, "Popen", lambda *_, **__: FakeProcess(status))
    monkeypatch.setattr(trial_process, "_end", lambda _: None)
    assert try_model(Task.CHURN, "7", tmp_path) == verdict


def test_what_somebody_else_ended_says_nothing_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_process.subprocess, "Popen", lambda *_, **__: FakeProcess(-signal.SIGTERM))
    monkeypatch.setattr(trial_process, "_end", lambda _: None)
    with pytest.raises(StoreError, match="was ended by SIGTERM; it is tried again"):
        try_model(Task.CHURN, "7", tmp_path)


def test_a_model_that_takes_for_ever_is_ended(tmp_path: Path) -> None:
    verdict = try_model(Task.CHURN, "7", write_model(Task.CHURN, tmp_path / "model"), timeout_s=0.05)
    assert verdict == Verdict("It was not loaded and asked within 0 s.", uncertain=True)


def test_the_trial_knows_nothing_that_opens_a_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNI_IDENTIFIER_KEY", "secret")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    assert "secret" not in json.dumps(trial_process._environment())


def test_a_trial_ends_with_the_worker_that_holds_it(tmp_path: Path) -> None:
    """Also one that would never end, and whose worker is killed: nothing is left of it."""
    (tmp_path / "endless.py").write_text(
        "import sys, time\n"
        "from serving.scorers import trial\n"
        "trial.judge = lambda *_: time.sleep(600)\n"
        "sys.exit(trial.main(sys.argv[1:]))\n"
    )
    folder = write_model(Task.WIN_BACK, tmp_path / "model")
    code = (
        "import sys; from pathlib import Path; from features.scoring import trial; from features.vocabulary import Task\n"
        "trial.TRIAL_MODULE = 'endless'; trial.try_model(Task.WIN_BACK, '7', Path(sys.argv[1]))"
    )
    root = Path(trial_process.__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}", TOKEN: "token-of-this-test"}
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], env=env) as worker:
        wait_until(lambda: len(carriers("token-of-this-test")) == 2, "the trial runs")
        (trial,) = (each for each in carriers("token-of-this-test") if each.pid != worker.pid)
        wait_until(lambda: trial.num_threads() > 2, "it hangs on its worker")
        worker.kill()
    wait_until(lambda: not trial.is_running(), "the trial has ended")


def test_weights_that_score_otherwise_than_their_graph_are_refused(tmp_path: Path) -> None:
    """A graph whose arrays have the names of a network that can be split may compute anything with them."""
    folder, n_rows = write_model(Task.NEXT_PRODUCT, tmp_path / "model"), len(PRODUCTS) + 1
    asked = graph(len(PRODUCTS))
    asked.graph.input.append(helper.make_tensor_value_info(POPULARITY_NAME, TensorProto.FLOAT, [n_rows]))
    onnx.save(asked, str(folder / "model.onnx"))
    customers = sample_customers(PRODUCTS)
    files = replace(ProductFiles.load(folder, "It"), log_popularity=np.zeros(n_rows, np.float32))
    card = ModelCard(Task.NEXT_PRODUCT, "7", "")
    need_scores_of_graph(ProductScorer(card, files), folder, *customers)  # the whole graph scores: nothing to compare
    split = SplitNetwork.of(network_arrays(n_rows), 64)
    assert split is not None
    with pytest.raises(ModelError, match="scores differ from those of its weights by"):
        need_scores_of_graph(ProductScorer(card, replace(files, session=split)), folder, *customers)
