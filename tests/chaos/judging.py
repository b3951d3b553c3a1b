"""What a use of a damaged home is worth: the steps of the undamaged and of the damaged home come in, a verdict goes out."""

import csv
import io
import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

PASSING = {"as_of", "feature_age_s", "decision_id", "stale_for_s", "send_at", "degraded", "stale", "seconds", "path"}
"""Fields that differ from one moment to the next, or that only mark an answer."""
CHECKS = ("doctor", "features check")
"""Commands that end with 1 where they find something."""
REL, ABS = 1e-3, 1e-2
"""How far numbers may be apart that fade with time: the uses are some seconds apart."""


@dataclass(frozen=True)
class Verdict:
    """What came of it: words for the table, and what must not be."""

    outcomes: tuple[str, ...]
    faults: tuple[str, ...]


def judge(base: dict[str, Any], case: dict[str, Any]) -> Verdict:
    """Hold a damaged home's steps against the undamaged one's."""
    if "died" in case:
        return Verdict(("died",), (f"died: {case['died']}",))
    outcomes, faults = Counter[str](), []
    steps, wanted = case["answer"], base["answer"]
    for name in ("serve", "serve again"):
        for word, fault in _served(wanted[name], steps[name]):
            outcomes[f"{name}: {word}"] += 1
            faults += [f"{name}: {fault}"] if fault else []
    for name, step in steps.items():
        if isinstance(step, list) and name != "out":
            word, fault = _command(wanted[name], step, name in CHECKS)
            outcomes[f"{name}: {word}"] += 1
            faults += [f"{name}: {fault}"] if fault else []
    served = "start" not in steps["serve"]  # else nobody took the events in that change the audience
    if served and steps["audience"][0] == 0 and not _same(_table(wanted["out"]), _table(steps["out"])):
        faults.append("audience: other rows")
    if "Traceback" in case["log"]:
        faults.append("log: " + case["log"][case["log"].index("Traceback") :][-300:])
    return Verdict(tuple(sorted(outcomes)), tuple(faults))


def _served(wanted: dict[str, Any], answers: dict[str, Any]) -> list[tuple[str, str]]:
    if "start" in answers:
        clear = len(answers["start"]) > 20
        return [("does not start, and says why", "" if clear else f"start: {answers['start']}")]
    marked = _marks(answers)
    words = []
    for question, (status, answer) in answers.items():
        if question in ("/readyz", "/v1/models"):
            continue
        if question == "/v1/events":
            words.append(_taken(status, answer))
        elif status == wanted[question][0] and _same(_settled(wanted[question][1]), _settled(answer)):
            words.append(("right", ""))
        elif status in (429, 503, 504) and answer["error"]["message"]:
            words.append(("refused", ""))
        elif status == 200 and (answer["degraded"] or answer["stale"] or marked):
            words.append(("marked", ""))
        else:
            words.append(("wrong", f"{question}: {status} {_difference(wanted[question][1], answer)}"))
    return words


def _settled(answer: Any) -> Any:
    """An answer without what may be a minute old: what sells is counted once a minute, whoever asks."""
    if isinstance(answer, dict) and answer.get("served_by") == "popularity" and "products" in answer:
        return {**answer, "products": len(answer["products"])}
    return answer


def _taken(status: int, answer: Any) -> tuple[str, str]:
    if status == 200 and answer["accepted"] + answer["duplicates"] == 3:
        return "takes events", ""
    return ("refuses events", "") if status == 503 else ("events", f"/v1/events: {status} {answer}")


def _marks(answers: dict[str, Any]) -> list[str]:
    """What `/readyz` and `/v1/models` say is wrong."""
    status, ready = answers["/readyz"]
    models = answers["/v1/models"][1]
    said = [str(ready)] if status != 200 or {"warnings", "degraded", "fallbacks"} & set(ready) else []
    said += [info["problem"] for info in models["models"] if info["problem"] and info["task"] != "win-back"]
    return said + [models["rules"]["problem"]] * bool(models["rules"]["problem"])


def _command(wanted: list[Any], step: list[Any], may_fail: bool) -> tuple[str, str]:
    code, said = step
    lines = [line for line in said.splitlines() if line.startswith("omni: ")]
    if "Traceback" in said:
        return "a defect", said[-400:]
    if code == 2:
        return "says why", "" if len(lines) == 1 else f"no clear line: {said[-300:]}"
    if code not in (0, 1) or (code == 1 and not may_fail):
        return "a defect", f"exit {code}: {said[-300:]}"
    if code == 0 and wanted[0] == 0 and said.rstrip().endswith("}") and wanted[1].rstrip().endswith("}"):
        left, right = (json.loads(text[text.index('{"') :]) for text in (wanted[1], said))
        return ("done", "") if _same(left, right) else ("differs", _difference(left, right))
    return ("as before", "") if code == wanted[0] else (f"exit {code}", "")


def _table(lines: list[str] | None) -> Any:
    return list(csv.DictReader(io.StringIO("\n".join(lines or []))))


def _timeless(text: str) -> str:
    """Words without how long ago something was: the uses may be minutes apart."""
    return re.sub(r"\b\d+ (minute|hour|day)s? ago\b", "a while ago", text)


def _same(left: Any, right: Any) -> bool:
    return not _difference(left, right)


def _difference(left: Any, right: Any, place: str = "") -> str:
    """The first place at which two answers differ; empty where they are the same."""
    if isinstance(left, dict) and isinstance(right, dict):
        keys = [key for key in {**left, **right} if key not in PASSING]
        return next((d for key in keys if (d := _difference(left.get(key), right.get(key), f"{place}.{key}"))), "")
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return next((d for number, (a, b) in pairs if (d := _difference(a, b, f"{place}[{number}]"))), "")
    numbers = _numbers(left, right)
    if numbers and math.isclose(*numbers, rel_tol=REL, abs_tol=ABS):
        return ""
    if isinstance(left, str) and isinstance(right, str) and _timeless(left) == _timeless(right):
        return ""
    return "" if left == right else f"{place}: {str(left)[:80]} became {str(right)[:80]}"


def _numbers(left: Any, right: Any) -> tuple[float, float] | None:
    try:
        return None if isinstance(left, bool) or isinstance(right, bool) else (float(left), float(right))
    except (TypeError, ValueError):
        return None
