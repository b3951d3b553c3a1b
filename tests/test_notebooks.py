"""Every notebook runs from top to bottom on a small sample, and what it is committed with is what comes out.

`OMNI_STORE_NOTEBOOKS=1 python -m pytest tests/test_notebooks.py` writes what comes out into the notebooks.
"""

import math
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
STORE = os.environ.get("OMNI_STORE_NOTEBOOKS") == "1"
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
CLOSE = {"rel_tol": 0.2, "abs_tol": 0.05}
"""Sums of another machine's processor differ a little, and a network that learned from them a little more."""


def test_there_are_notebooks():
    assert [path.name for path in NOTEBOOKS][:2] == ["01_explore_behaviour.ipynb", "02_train_and_compare.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_says_what_comes_out(path, sample_home, tmp_path, monkeypatch):
    monkeypatch.setenv("OMNI_HOME", str(sample_home))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel draws into the page
    notebook, committed = (nbformat.read(path, as_version=4) for _ in range(2))

    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()

    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    assert not [output for output in outputs if output.get("name") == "stderr"]
    if STORE:
        nbformat.write(notebook, path)
        return
    assert [len(texts(cell)) for cell in committed.cells] == [len(texts(cell)) for cell in notebook.cells]
    differing = [
        (before, now)
        for cell, again in zip(committed.cells, notebook.cells, strict=True)
        for before, now in zip(texts(cell), texts(again), strict=True)
        if not says_the_same(before, now)
    ]
    assert differing == []


def texts(cell: Any) -> list[str]:
    """What a cell says in words: prints, tables and sentences; pictures only by there being one."""
    said = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        picture = "a picture" if "image/png" in data else None
        said.append(picture or data.get("text/markdown") or data.get("text/plain") or output.get("text", ""))
    return said


def says_the_same(before: str, now: str) -> bool:
    """The same words, with numbers that are close."""
    words, again = (re.sub(r"\s+|-{2,}", " ", NUMBER.sub("#", text)).split() for text in (before, now))
    numbers = [[float(number.replace(",", "")) for number in NUMBER.findall(text)] for text in (before, now)]
    return words == again and all(math.isclose(a, b, **CLOSE) for a, b in zip(*numbers, strict=True))


def test_numbers_that_are_close_say_the_same_and_other_words_do_not():
    assert says_the_same("ours 0.21 (0.20 to 0.22)\n1,000 rows", "ours  0.22 (0.20 to 0.22)\n1,010 rows")
    assert not says_the_same("ours 0.21", "ours 0.41")
    assert not says_the_same("ours is ahead", "ours is behind")
