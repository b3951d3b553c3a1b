"""Log records of a process in, lines of JSON on stderr out: for whoever collects the logs of a service."""

import logging
import sys
from typing import Final

_WITH_THEIR_OWN: Final = ("bentoml", "circus", "uvicorn", "uvicorn.error")
"""Loggers that libraries give handlers of their own."""


def log_json_lines() -> None:
    """Send every record to stderr as one line of JSON: time, level, logger, message, and what else it names."""
    from pythonjsonlogger.json import JsonFormatter

    renamed = {"levelname": "level", "name": "logger"}
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter("%(levelname)s %(name)s %(message)s", rename_fields=renamed, timestamp="time"))
    logging.getLogger().handlers[:] = [handler]
    for name in _WITH_THEIR_OWN:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
