"""The BentoML service: BentoML runs the workers, our app answers every request. `bentoml serve serving.service:Omni`."""

import logging
import os
import sys
from typing import Any

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from features.processes.lifeline import LIFELINES, hand_on, hang_on
from features.settings import Settings
from serving.api import create_app
from serving.runtime import Runtime, open_runtime


class FrontDoor:
    """Hands every HTTP request to our app: BentoML's own pages (health, docs, index) would hide ours otherwise."""

    def __init__(self, app: ASGIApp, ours: ASGIApp) -> None:
        self._bentoml = app
        self._ours = ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; start and stop go through BentoML, which starts and stops our app with itself."""
        await (self._ours if scope["type"] == "http" else self._bentoml)(scope, receive, send)


class OneDecision:
    """One customer, every channel, one decision."""


def _open() -> Runtime:
    return open_runtime(Settings.from_env(os.environ))


# BentoML imports this in the process that starts the workers, and in each of them. A worker hangs on both above it: it would
# answer on for ever where that process is killed, and hold the port.
if os.environ.get(LIFELINES):  # started by `omni serve` and not by `bentoml serve`
    hang_on(os.environ)
    _lifeline = hand_on(os.environ)
for _package in ("features", "serving"):
    logging.getLogger(_package).setLevel(logging.INFO)  # which model answers since when; BentoML shows warnings only
# Threads of one worker take turns. At Python's own 5 ms, a commit would wait that long after each of its statements.
sys.setswitchinterval(0.0005)
_app = create_app(_open)
Omni: Any = bentoml.service(
    name="omni",
    workers=int(os.environ.get("OMNI_WORKERS", "1")),
    tracing={"excluded_urls": ".*"},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    traffic={"timeout": 30},
)(OneDecision)
Omni.mount_asgi_app(_app, path="/")
Omni.add_asgi_middleware(FrontDoor, ours=_app)
