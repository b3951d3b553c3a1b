"""The rules in force: rules.toml, as somebody edits it, comes in, one set of rules for every worker of a home goes out.

What is in force stands in OMNI_HOME/run/rules.json, and every question looks whether that file is another one now: so all
workers change over at the same moment, and a worker that is started anew takes what the others have. A rules.toml that
changes is put there once it was found the same in two looks (it may be half written) and is valid. One that is not valid
changes nothing: the rules before it stay in force, and the log, `/readyz`, `/v1/models` and a metric say why.
"""

import json
import logging
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from features.atomic import locked, write_text
from features.errors import InputError
from features.settings import RULES_FILE, Settings
from serving.decision.rules import Rules, package_rules, parse_rules

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often rules.toml is looked at."""
_MAX_BYTES: Final = 1024 * 1024
_NEVER: Final = InputError("")
"""What no look has seen."""
_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class InForce:
    """Rules that answer now, since when, and what is wrong with the file that should have replaced them."""

    rules: Rules
    version: str
    since: datetime
    problem: str = ""

    @classmethod
    def from_now_on(cls, rules: Rules) -> "InForce":
        """These rules, in force from this moment on."""
        return cls(rules, rules.version, datetime.now(UTC))


class HouseRules:
    """The rules in force in one home; safe to use from several threads and processes."""

    def __init__(self, settings: Settings) -> None:
        """Raises InputError where nothing is in force yet and rules.toml is bad."""
        self._own = settings.home / RULES_FILE
        self._path = settings.home / "run" / "rules.json"
        self._stop = threading.Event()
        self._looked: bytes | InputError | None = _NEVER
        self._settled: bytes | InputError | None = _NEVER
        self._told = ""
        stamp, known = _stamp(self._path), _load(self._path)
        if known is None:
            known = InForce.from_now_on(self._parse(self._read()))
            self._put(known)
        if known.problem:
            logger.error("%s", _said(known))
        self._current: tuple[_Stamp | None, InForce] = stamp, known

    def current(self) -> InForce:
        """What is in force at this moment."""
        before, known = self._current
        stamp = _stamp(self._path)
        if stamp == before or stamp is None:
            return known
        loaded = _load(self._path)
        if loaded is None:
            self._settled = _NEVER  # damaged: the next look writes it anew
        self._current = stamp, loaded or known
        return loaded or known

    def begin(self) -> None:
        """Put rules.toml in force as it is now, as a start does."""
        with locked(self._path):
            self._settle(self._try_read())

    def look(self) -> None:
        """Look at rules.toml once, and put it in force where it changed and is as it was at the look before."""
        content = self._try_read()
        changed = not _same(content, self._looked)
        self._looked = content
        if changed or (_same(content, self._settled) and self._path.exists()):
            return
        with locked(self._path):
            if _same(self._try_read(), content):
                self._settle(content)

    def watch(self, look_s: float = LOOK_S) -> Callable[[], None]:
        """Look every `look_s`, until what this answers is called."""
        thread = threading.Thread(target=self._run, args=(look_s,), name="omni-rules", daemon=True)
        thread.start()

        def end() -> None:
            self._stop.set()
            thread.join(timeout=30)

        return end

    def _run(self, look_s: float) -> None:
        while not self._stop.is_set():
            try:
                self.look()
                self._told = ""
            except OSError as error:  # a disk that is full, say
                if str(error) != self._told:
                    logger.error("%s could not be looked at (%s); the rules stay as they are", self._own, error)
                self._told = str(error)
            except Exception:  # a bad moment must not be the end of looking
                logger.exception("Looking at %s failed; it is tried again", self._own)
            self._stop.wait(look_s)

    def _settle(self, content: bytes | InputError | None) -> None:
        """Put what rules.toml says in force, or note what is wrong with it; whoever calls holds the lock."""
        known, is_lost = self.current(), _load(self._path) is None
        try:
            rules = self._parse(content)
        except InputError as error:
            if known.problem != str(error) or is_lost:
                known = replace(known, problem=str(error))
                self._put(known)
                logger.error("%s", _said(known))
        else:
            if known.version != rules.version or known.problem or is_lost:
                known = InForce.from_now_on(rules)
                self._put(known)
                logger.warning("The rules in force are version %s from now on", known.version)
        self._settled = content

    def _put(self, known: InForce) -> None:
        content = {
            "version": known.version,
            "since": known.since.isoformat(),
            "problem": known.problem,
            "rules": known.rules.model_dump(mode="json"),
        }
        write_text(self._path, json.dumps(content, indent=1))

    def _parse(self, content: bytes | InputError | None) -> Rules:
        if isinstance(content, InputError):
            raise content
        return package_rules() if content is None else parse_rules(content, self._own)

    def _try_read(self) -> bytes | InputError | None:
        try:
            return self._read()
        except InputError as error:
            return error

    def _read(self) -> bytes | None:
        """What rules.toml holds; None where there is none. Raises InputError for what is no file that can be read."""
        try:
            facts = self._own.stat()
            if not stat.S_ISREG(facts.st_mode):
                raise InputError(f"{self._own} is no file.", repair="Give a readable TOML file.")
            if facts.st_size > _MAX_BYTES:
                raise InputError(f"{self._own} is larger than 1 MiB.", repair="Give the rules only.")
            return self._own.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{self._own}: {error.strerror}.", repair="Give a readable TOML file.") from error


def _same(left: bytes | InputError | None, right: bytes | InputError | None) -> bool:
    if isinstance(left, InputError) and isinstance(right, InputError):
        return str(left) == str(right)
    return left == right


def _said(known: InForce) -> str:
    return f"{known.problem} Until then the rules before it (version {known.version}) stay in force."


def _load(path: Path) -> InForce | None:
    """What is in force; None where nothing is, or the file is damaged or of another version of Omni."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rules = Rules.model_validate(content["rules"])
        return InForce(rules, rules.version, datetime.fromisoformat(content["since"]), str(content["problem"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
        logger.warning("%s cannot be used (%s); %s counts", path, type(error).__name__, RULES_FILE)
        return None


def _stamp(path: Path) -> _Stamp | None:
    """What changes whenever the file is another one; None where there is none."""
    try:
        facts = os.stat(path)  # noqa: PTH116  (half the time of Path.stat, and asked with every question)
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
