"""The shape of the project: who may import whom, where the packages come from, and what `import mlflow` finds."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import features
import serving
import training
from features import fingerprint

ROOT = Path(__file__).parent.parent
PACKAGES = ("features", "training", "serving")
MOST_FILES = 25
MOST_LINES = 400


def test_the_layers_are_kept():
    lint = Path(sys.executable).with_name("lint-imports")

    result = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "4 kept, 0 broken" in result.stdout


def test_the_packages_under_test_are_this_checkout():
    for package in (features, training, serving):
        assert Path(package.__file__).parent.parent == ROOT


def test_every_package_folder_is_installed():
    """A folder that is not listed in pyproject.toml works in a checkout and is missing for everybody else."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])

    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in ("features", "training", "serving")
        for path in (ROOT / package).rglob("*.py")
    }

    assert folders == listed


def test_whatever_is_imported_is_named_with_a_range_and_pinned():
    """A package that is there because another one brings it is gone as soon as that one no longer does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    listed = [
        *project["dependencies"],
        *(line for name in ("demo", "redis", "postgres", "spark") for line in extras[name]),
    ]
    named = {normal_name(re.match(r"[\w.-]+", line)[0]) for line in listed}
    pinned = {normal_name(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}

    brought_by = packages_distributions()
    unnamed = {
        name
        for name in third_party_imports()
        if not named & {normal_name(each) for each in brought_by.get(name, [name])}
    }

    assert sorted(unnamed) == []
    assert sorted(named - pinned) == []


def test_no_folder_is_too_full_to_be_taken_in_at_a_glance():
    folders = {path.parent for name in (*PACKAGES, "tests") for path in files_below(ROOT / name)}
    n_files = {folder: len([path for path in folder.iterdir() if path.is_file()]) for folder in folders}

    assert {str(folder.relative_to(ROOT)): n for folder, n in n_files.items() if n > MOST_FILES} == {}


def test_no_file_is_too_long_to_be_read_in_one_go():
    files = [path for name in (*PACKAGES, "tests") for path in files_below(ROOT / name) if path.suffix == ".py"]
    n_lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}

    assert {str(path.relative_to(ROOT)): n for path, n in n_lines.items() if n > MOST_LINES} == {}


def test_every_module_opens_with_a_sentence_that_says_what_it_is():
    files = [path for name in PACKAGES for path in files_below(ROOT / name) if path.suffix == ".py"]
    openings = {path: first_line(path) for path in (*files, ROOT / "omni.py")}

    assert {str(path.relative_to(ROOT)): line for path, line in openings.items() if not is_sentence(line)} == {}
    assert all((path.parent / "__init__.py").is_file() for path in files)


@pytest.mark.parametrize("line", ["", "Reads files", "reads files.", "."])
def test_what_is_no_sentence(line):
    assert not is_sentence(line)
    assert is_sentence("Reads files.")


def test_the_mlflow_folder_is_configuration_only():
    assert list((ROOT / "mlflow").iterdir()), "mlflow/ holds the tracking configuration"
    assert not list((ROOT / "mlflow").rglob("*.py"))


def test_import_mlflow_from_the_root_finds_the_library():
    code = "import mlflow; print(mlflow.__file__); mlflow.MlflowClient"

    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "site-packages" in result.stdout


def test_import_mlflow_in_pytest_finds_the_library():
    import mlflow

    assert "site-packages" in mlflow.__file__


def test_nothing_happens_at_import():
    """No module runs anything when imported, but those that BentoML and MLflow load the service and models from."""
    models = {ROOT / "training" / "models" / name / "pyfunc.py" for name in ("best_channel", "churn", "win_back")}
    entry_points = {ROOT / "serving" / "service.py", *models}
    offenders = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("features", "training", "serving")
        for path in (ROOT / package).rglob("*.py")
        if path not in entry_points
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]

    assert offenders == []


def test_serving_and_the_live_path_never_import_feast():
    """Importing feast takes ten seconds; the reader of what it wrote and the service must start without it."""
    for module in ("features.online.reader", "features.console", "features.cli", "training.cli", "serving.cli"):
        code = f"import sys, {module}; sys.exit('feast' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0, module


def test_compiled_code_is_of_the_sources_as_they_are():
    """What is compiled into the fold is in the name of its cache: numba itself looks only at a function's own file."""
    plain = {"fingerprint.py", "state/jit.py", "arrays.py"}  # how it is compiled and typed, not what
    assert files_behind("state/kernel_batch.py") - plain == set(fingerprint.FOLD_CODE)


def test_what_makes_signals_is_known_to_the_model_that_learns_from_them():
    # how it is compiled, said, set and stored, and what a customer is known by, changes no signal
    plain = {"fingerprint.py", "state/jit.py", "arrays.py", "errors.py", "state/encoding.py"}
    plain |= {"events/contact_points.py", "events/placeholders.py", "config.py", "settings.py", "moments.py"}
    behind = files_behind("signals.py") | files_behind("state/fold.py")
    assert behind == {*fingerprint.FEATURE_CODE, *plain}


def files_below(folder: Path) -> list[Path]:
    """The files of a folder and of the folders in it, without what Python and tools keep there."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(ROOT).parts)
    ]


def third_party_imports() -> set[str]:
    """The first names of what the packages import that is neither Python's nor ours, nor travels with a model."""
    files = [path for package in PACKAGES for path in files_below(ROOT / package) if path.suffix == ".py"]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    with_models = {path.stem for path in (ROOT / "features" / "scoring").glob("*.py")}
    return {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names) - {*PACKAGES, *with_models}


def normal_name(distribution: str) -> str:
    """A distribution's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def first_line(path: Path) -> str:
    """The first line of a module's docstring, or nothing."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def is_sentence(line: str) -> bool:
    """Whether a line begins like a sentence, has more than a word, and ends like one."""
    return len(line.split()) > 1 and not line[0].islower() and line.endswith((".", "?", ":"))


def files_behind(file: str) -> set[str]:
    """The files of `features` that one of them consists of: its own and all that it imports, without the packages' words."""
    behind: set[str] = set()
    waiting = [file]
    while waiting:
        name = waiting.pop()
        behind.add(name)
        waiting += sorted(imported_files(ROOT / "features" / name) - behind)
    return behind


def imported_files(path: Path) -> set[str]:
    """The files of `features` that `path` imports, wherever in it, as paths below the folder."""
    imports = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    modules = {
        name
        for node in imports
        if node.module
        for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    }
    files = {f"{'/'.join(name.split('.')[1:])}.py" for name in modules if name.startswith("features.")}
    return {file for file in files if (ROOT / "features" / file).is_file()}


def test_the_next_product_benchmark_has_no_model_of_its_own():
    """It chooses data and protocol; network, loss, trees and their choice are those of `omni train`."""
    tree = ast.parse((ROOT / "training" / "benchmarks" / "next_product.py").read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}

    assert "training.models.next_product.system" in modules
    assert not modules & {"torch", "lightgbm"}
    own = {f"training.models.next_product.{name}" for name in ("network", "loss", "fit", "start_vectors")}
    assert not modules & own
    assert not (ROOT / "training" / "benchmarks" / "hybrid").exists()
