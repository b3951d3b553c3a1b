"""A process that answers one question what would happen, so that no worker does: JSON in, one line of JSON out.

On stdin: the request, the rules in force, the seconds it may take. On stdout: the answer, or `invalid` or `missing` with words.
On stderr: how far it is, a line each. It works with low priority, and ends by itself when its time is over.
"""

import json
import os
import signal
import sys
from typing import Any

from features.errors import InputError, OmniError
from features.settings import Settings
from serving.decision.changed_rules import changed_rules
from serving.decision.rules import Rules
from serving.schemas.what_if import WhatIfRequest
from serving.whatif.what_if import Sampled, what_if


def main() -> None:
    """Answer what is asked on stdin."""
    question = json.load(sys.stdin)
    signal.alarm(max(1, round(question["within_s"])))
    os.nice(10)
    sys.stdout.write(json.dumps(answer(question)) + "\n")


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """The answer to a question, or why there is none."""
    request = WhatIfRequest.model_validate(question["request"])
    in_force = Rules.model_validate(question["rules"])
    asked = Sampled(request.sample, request.where, request.decisions, request.reward, request.window_days)
    try:
        found = what_if(
            Settings.from_env(os.environ), changed_rules(in_force, request.rules), asked, _tell, old=in_force
        )
    except InputError as error:
        return {"invalid": str(error)}
    except OmniError as error:
        return {"missing": str(error)}
    return {"answer": found.model_dump(mode="json")}


def _tell(message: str) -> None:
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
