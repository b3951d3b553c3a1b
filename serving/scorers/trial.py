"""Where a model is tried: `python -m serving.scorers.trial TASK VERSION FOLDER ANSWER SECONDS`, a process that may end badly.

It loads the model as a worker would, asks it about made customers, and writes what it found to the file ANSWER.
"""

import json
import logging
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from features import atomic
from features.arrays import FloatArray
from features.errors import ModelError, OmniError
from features.processes.lean import leave_pandas_out
from features.processes.lifeline import hang_on
from features.scoring.model_digests import model_files
from features.scoring.model_files import find_all, find_file, read_metadata
from features.scoring.network.halves import SplitNetwork
from features.scoring.next_product import GRAPH_FILES, SCORE_TOLERANCE, open_session
from features.scoring.trial import Verdict
from features.state.batch import StateBatch
from features.vocabulary import Task
from serving.scorers.bundle import load_scorer
from serving.scorers.inspection import inspect
from serving.scorers.model_card import ModelCard
from serving.scorers.next_product import ProductScorer
from serving.scorers.sample_customers import sample_customers

logger = logging.getLogger(__name__)

MEMORY_BYTES: Final = 12 * 2**30
"""Of addresses, for the process; libraries reserve many times what they use."""
_PER_MODEL_BYTE: Final = 8
_TREES_BEGIN: Final = b"tree\n"
_TREES_END: Final = b"\npandas_categorical:"
_TAIL_BYTES: Final = 4096
_LONGEST_REASON: Final = 500


def main(arguments: list[str]) -> int:
    """Try one model; see the module's words. Answers the exit status, 0 also where the model failed."""
    hang_on(os.environ)
    leave_pandas_out()
    task, version, folder, answer, seconds = arguments
    files = model_files(Path(folder), f"Model {task} version {version}")
    n_bytes = sum(path.stat().st_size for path in files.values())
    _limit(MEMORY_BYTES + _PER_MODEL_BYTE * n_bytes, int(float(seconds)))
    verdict = judge(ModelCard(Task(task), version, ""), Path(folder))
    atomic.write_text(Path(answer), json.dumps(vars(verdict)))
    return 0


def judge(card: ModelCard, folder: Path) -> Verdict:
    """What loading and asking the model shows. Only what ends the process is not answered."""
    try:
        find_file(folder, "MLmodel", card.name)
        for graph in find_all(folder, "*.onnx"):
            need_whole_graph(graph)
        for text in (*find_all(folder, "*.lgb"), *find_all(folder, "*.txt")):
            need_whole_trees(text)
        scorer = load_scorer(card, read_metadata(folder), folder)
        products = scorer.product_ids if isinstance(scorer, ProductScorer) else ()
        with np.errstate(all="ignore"):  # what comes of it is looked at
            customers = sample_customers(products)
            inspect(scorer, *customers)
            if isinstance(scorer, ProductScorer):
                need_scores_of_graph(scorer, folder, *customers)
    except MemoryError:
        return Verdict("Loading and asking it took all memory that a model may have.", uncertain=True)
    except OmniError as error:
        return Verdict(str(error)[:_LONGEST_REASON])
    except Exception as error:  # every library has its own word for a damaged file
        logger.debug("Trying %s failed", card.name, exc_info=error)
        said = next(iter(str(error).replace(str(folder), "").splitlines()), "")
        return Verdict(f"It cannot be loaded and asked ({type(error).__name__}: {said})."[:_LONGEST_REASON])
    return Verdict()


def need_whole_graph(file: Path) -> None:
    """Raises ModelError for an ONNX graph that keeps arrays in other files: those may be anybody's."""
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise ModelError(
            f"{file.name} keeps arrays in other files, which are not read.",
            repair="Save it as one file: onnx.save(model, path, save_as_external_data=False).",
        )


def need_scores_of_graph(scorer: ProductScorer, folder: Path, states: StateBatch, as_of_s: FloatArray) -> None:
    """Raises ModelError where a network in its halves does not score as its graph does."""
    if not isinstance(scorer.files.session, SplitNetwork):
        return
    session = open_session(str(find_file(folder, GRAPH_FILES, scorer.card.name)))
    whole = ProductScorer(scorer.card, replace(scorer.files, session=session))
    there, here = (which.score(states, as_of_s).scores[:, 1:] for which in (whole, scorer))
    difference = float(np.abs(there - here).max())
    if not difference <= SCORE_TOLERANCE:
        raise ModelError(f"Its graph's scores differ from those of its weights by {difference:g}.")


def need_whole_trees(file: Path) -> None:
    """Raises ModelError for LightGBM's text without its end: cut at a good place it would be read as a smaller model."""
    content = file.read_bytes()
    if content.startswith(_TREES_BEGIN) and _TREES_END not in content[-_TAIL_BYTES:]:
        raise ModelError(f"{file.name} ends too early.", repair="Train the model again.")


def _tensors(message: Any) -> Iterator[Any]:
    """Every array in a protobuf message, however deep: of initialisers, of attributes, of graphs within graphs."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in value if field.is_repeated else (value,):
                yield from _tensors(item)


def _limit(memory_bytes: int, cpu_s: int) -> None:
    for what, most in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
