"""The few errors a user can meet: each message says what was wrong, where, and what to do about it; and traces of others."""

import traceback


class OmniError(Exception):
    """Base of every error that is the user's to mend; the command line prints it in one line and exits with 2."""

    def __init__(self, message: str, *, repair: str = "") -> None:
        super().__init__(f"{message} {repair}".strip())
        self.message = message
        self.repair = repair


class InputError(OmniError):
    """A file, argument or event that cannot be used as given."""


class SettingsError(OmniError):
    """A setting in the environment that cannot be used."""


class MissingError(OmniError):
    """Something that an earlier step makes is not there yet: the message names the command that makes it."""


class StoreError(OmniError):
    """The event log or a feature store holds something that cannot be used."""


class UnavailableError(StoreError):
    """A server, a disk or another process does not let this be done now: later it may work without anything being mended."""


class UnreadableError(StoreError):
    """A value in a feature store is damaged, or was written by another version."""


class ModelError(StoreError):
    """A registered model that must not answer: its files are damaged, or what it answers is no answer."""


class RequestError(InputError):
    """What somebody asks for cannot be used as asked: the fault is in the request, never in what we hold."""


class UnknownStoreError(RequestError):
    """No record of stock names a store, though others are named."""


class UnknownCustomerError(OmniError):
    """Nobody by that name is in the event log."""

    def __init__(self, customer_id: str | None) -> None:
        who = f"Customer {customer_id!r}" if customer_id else "A customer with these identifiers"
        super().__init__(f"{who} is not known: no event of theirs is in the log.")


def trace(error: BaseException) -> str:
    """Of an error nobody expected, the chain of its causes, first of all the first: their kinds and calls, not their words.

    The words of a library's error may hold what it was given: an address in a row, a name in SQL's parameters. Place and
    kind find a defect; whose event it was is nobody's business who reads the log.
    """
    parts: list[str] = []
    each: BaseException | None = error
    while each is not None and len(parts) < 10:
        kind = f"{type(each).__module__}.{type(each).__qualname__}".removeprefix("builtins.")
        calls = "".join(traceback.format_tb(each.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{calls}{kind} (its words are not logged)")
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return "\n\nand then:\n\n".join(reversed(parts))
