"""The shape of the project: who may import whom, where the packages come from, and what `import mlflow` finds."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import features
import serving
import training
from features import fold_compile, freshness

ROOT = Path(__file__).parent.parent


def test_the_layers_are_kept():
    lint = Path(sys.executable).with_name("lint-imports")

    result = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 kept, 0 broken" in result.stdout


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
    models = {ROOT / "training" / "models" / f"{name}_pyfunc.py" for name in ("best_channel", "churn")}
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
    for module in ("features.online", "features.console", "features.cli", "training.cli", "serving.cli"):
        code = f"import sys, {module}; sys.exit('feast' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0, module


def test_compiled_code_is_of_the_sources_as_they_are():
    """What is compiled into the fold is in the name of its cache: numba itself looks only at a function's own file."""
    assert files_behind("fold_rows") - {"fold_compile.py"} == set(fold_compile.SOURCES)


def test_what_makes_signals_is_known_to_the_model_that_learns_from_them():
    plain = {"fold_compile.py", "errors.py", "state_rows.py"}  # how it is compiled, said and stored changes no signal
    assert files_behind("signals") | files_behind("state") == {*freshness.FEATURE_CODE, *plain}


def files_behind(module: str) -> set[str]:
    """The files of `features` that a module of it consists of: its own and all that it imports."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        found.add(name)
        tree = ast.parse((ROOT / "features" / f"{name}.py").read_text(encoding="utf-8"))
        from_folder = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "features"
            for alias in node.names
        }
        from_files = {
            node.module.removeprefix("features.")
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("features.")
        }
        waiting += sorted((from_folder | from_files) - found)
    return {f"{name}.py" for name in found}
