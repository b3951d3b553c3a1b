"""The BentoML service: BentoML runs the workers, our app answers every request. `bentoml serve serving.service:Omni`."""

import asyncio
import logging
import os
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import bentoml
from starlette.applications import Starlette

from features.processes.json_lines import log_json_lines
from features.processes.lifeline import LIFELINES, hand_on, hang_on
from serving.guard import slow_heads

MAX_FILES: Final = 65_536
FIRST_LOOK_S: Final = 10.0
"""How long a worker that starts takes no requests while it loads: the others take them, or they wait, and nobody gets a 503.

Longer than a start where compiled code lies on the disk, and shorter than whoever asks /livez waits before giving it up.
"""


class OneDecision:
    """One customer, every channel, one decision."""


@asynccontextmanager
async def _begin(_: Starlette) -> AsyncIterator[None]:
    """Make our app where it answers: what it imports would lie in the memory of the process that starts workers, too."""
    from features.processes.lean import leave_pandas_out
    from features.settings import Settings
    from serving.api import create_app
    from serving.runtime import open_runtime

    leave_pandas_out()
    settings = Settings.from_env(os.environ)
    if settings.log_format == "json":
        log_json_lines()  # again: BentoML has set up its own meanwhile
    ours = create_app(lambda: open_runtime(settings))
    async with ours.router.lifespan_context(ours):
        slow_heads.serve_first(ours)  # BentoML's own pages (health, docs, index) would hide ours otherwise
        await asyncio.to_thread(ours.state.runtime.looked.wait, FIRST_LOOK_S)
        yield


# BentoML imports this in the process that starts the workers, and in each of them. A worker hangs on both above it: it would
# answer on for ever where that process is killed, and hold the port.
if os.environ.get(LIFELINES):  # started by `omni serve` and not by `bentoml serve`
    hang_on(os.environ)
    _lifeline = hand_on(os.environ)
if os.environ.get("OMNI_LOG_FORMAT") == "json":
    log_json_lines()
for _package in ("features", "serving"):
    logging.getLogger(_package).setLevel(logging.INFO)  # which model answers since when; BentoML shows warnings only
# Threads of one worker take turns. At Python's own 5 ms, a commit would wait that long after each of its statements.
sys.setswitchinterval(0.0005)
slow_heads.install()
_, _most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
# the usual limit of 1,024 open files is one careless sender's connections
resource.setrlimit(resource.RLIMIT_NOFILE, (_most_files if _most_files >= 0 else MAX_FILES, _most_files))
_begun = Starlette(lifespan=_begin)
Omni: Any = bentoml.service(
    name="omni",
    workers=int(os.environ.get("OMNI_WORKERS", "1")),
    tracing={"excluded_urls": ".*"},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    traffic={"timeout": 60},  # more than LONGEST_BODY_S and ANSWER_WITHIN_S: ours come first, in our words
)(OneDecision)
Omni.mount_asgi_app(_begun, path="/")  # BentoML starts and stops it with itself
