"""What no process of a service holds in memory: large libraries that others of its processes, or none, have a use for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from chaos.harness import CUSTOMERS, PRODUCTS, make_home

# MLflow's own imports and its use of SQLAlchemy, by what makes the home; nothing of ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
LARGE = (
    *("pandas", "pyarrow.dataset", "scipy.special", "scipy.linalg", "sklearn", "matplotlib", "duckdb"),
    *("lightgbm", "onnx", "torch", "feast", "mlflow"),
)
ANSWERING = """
import asyncio, json, os, sys
from datetime import UTC, datetime

import serving.service
from serving.guard.slow_heads import ImpatientProtocol

parent = [name for name in (*LARGE, "numba", "numpy", "pyarrow") if name in sys.modules]


async def ask_everything():
    async with serving.service._begin(None):
        import httpx

        transport = httpx.ASGITransport(ImpatientProtocol.ours)
        async with httpx.AsyncClient(transport=transport, base_url="http://t", timeout=120) as http:
            for _ in range(1200):
                ready = await http.get("/readyz")
                if ready.status_code == 200:
                    break
                await asyncio.sleep(0.1)
            assert ready.status_code == 200, ready.text
            who = {"customer_id": CUSTOMER}
            view = {"kind": "view", "channel": "web", "product_id": PRODUCT, "occurred_at": datetime.now(UTC).isoformat()}
            many = [{**view, **who, "event_id": f"many-{number}"} for number in range(100)]
            asked = [
                ("decide", who),
                ("next-products", who | {"explore_share": 0.3, "diversity": 0.2}),
                ("churn", who | {"explain": True}),
                ("best-channel", who),
                ("events", [{**view, **who, "event_id": "one"}]),
                ("events", many),
                ("decide", who),
            ]
            answers = [await http.post(f"/v1/{what}", json=body) for what, body in asked]
            places = (f"/v1/customers/{CUSTOMER}?signals=true", "/v1/models", "/metrics", "/docs.json", "/", "/livez")
            answers += [await http.get(place) for place in places]
            bad = [(str(answer.url), answer.text) for answer in answers if answer.status_code != 200]
            assert not bad, bad


asyncio.run(ask_everything())
print(json.dumps([parent, [name for name in LARGE if name in sys.modules]]))
"""


def imported(code: str, home: Path) -> list[list[str]]:
    """What a process prints that runs `code`."""
    names = f"LARGE, CUSTOMER, PRODUCT = {LARGE!r}, {CUSTOMERS[0]!r}, {PRODUCTS[0]!r}\n"
    env = {"OMNI_HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", names + code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_worker_that_answered_everything_holds_nothing_large(tmp_path: Path) -> None:
    make_home(tmp_path / "home")
    above, worker = imported(ANSWERING, tmp_path / "home")
    assert above == []
    assert worker == []


def test_who_looks_after_the_others_holds_nothing_large(tmp_path: Path) -> None:
    code = (
        "import json, sys, omni, serving.supervisor\n"
        "print(json.dumps([[name for name in (*LARGE, 'numba', 'numpy', 'pyarrow') if name in sys.modules]]))"
    )
    assert imported(code, tmp_path) == [[]]
