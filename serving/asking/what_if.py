"""A question what other rules would do in, its answer out: a process of its own works it out, and workers go on answering."""

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any, Final

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from serving import problems
from serving.asking.in_time import respond
from serving.decision.changed_rules import changed_rules
from serving.problems import ApiError
from serving.runtime import Runtime
from serving.schemas.what_if import WhatIfAnswer, WhatIfRequest

PROGRAM: Final = (sys.executable, "-m", "serving.whatif")
_LEFT_S: Final = 0.2
"""What is left of the caller's time to say that it is over."""


async def what_if(request: Request, runtime: Runtime) -> Response:
    """The same customers under the rules in force and under others; nothing is logged. One question at a time per worker."""
    with problems.parse_request():
        wanted = WhatIfRequest.model_validate_json(request.state.body)
    rules = runtime.rules_now()
    try:
        changed_rules(rules, wanted.rules)
    except ValidationError as error:
        raise _bad_rules(error) from error
    state = request.app.state
    if getattr(state, "works_out_what_if", False):
        raise problems.overloaded()
    within_s = wanted.timeout_ms / 1000
    request.state.limit.reschedule(asyncio.get_running_loop().time() + within_s + _LEFT_S)
    question = {"request": wanted.model_dump(mode="json"), "rules": json.loads(rules.text), "within_s": within_s}
    state.works_out_what_if = True
    try:
        found = await _work_out(json.dumps(question).encode(), within_s)
    finally:
        state.works_out_what_if = False
    if "invalid" in found:
        raise problems.unusable(found["invalid"])
    if "missing" in found:
        raise problems.not_ready([("service", found["missing"])])
    return respond(WhatIfAnswer.model_validate(found["answer"]))


async def _work_out(question: bytes, within_s: float) -> dict[str, Any]:
    """What the process answers; it is ended when time is up, or nobody waits any more."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    progress = _Progress(process.stderr)
    follower = asyncio.create_task(progress.follow())
    try:
        async with asyncio.timeout(within_s):
            process.stdin.write(question)
            process.stdin.close()
            answer = await process.stdout.read()
            await process.wait()
    except TimeoutError as error:
        raise _too_slow(within_s, progress.last) from error
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await follower
    if process.returncode or not answer:
        raise problems.internal()
    found: dict[str, Any] = json.loads(answer)
    return found


class _Progress:
    """The last line that the process said."""

    def __init__(self, lines: asyncio.StreamReader) -> None:
        self._lines = lines
        self.last = "it had not begun"

    async def follow(self) -> None:
        """Read until there is nothing more."""
        while line := await self._lines.readline():
            self.last = line.decode(errors="replace").strip()


def _bad_rules(error: ValidationError) -> ApiError:
    """The keys of the rules that cannot be so."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:50]
    details = [
        {"field": ".".join(map(str, ("rules", *item["loc"]))), "reason": item["msg"].removeprefix("Value error, ")}
        for item in found
    ]
    first = details[0]
    return problems.unusable(f"The rules cannot be so: {first['field']}: {first['reason']}.", details)


def _too_slow(within_s: float, last: str) -> ApiError:
    text = (
        f"This was not done within {within_s:g} s; so far: {last}. Ask for fewer: sample, decisions; or: omni whatif."
    )
    return ApiError(504, "timeout", text)
