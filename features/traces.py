"""An exception comes in; a traceback for a log goes out that says of what kind it is and where it came from, not its words.

The words of a library's error may hold what it was given: an address in a row, a name in SQL's parameters. The place and
the kind find a defect; whose event it was is nobody's business who reads the log.
"""

import traceback


def trace(error: BaseException) -> str:
    """The chain of errors, the first cause first, each with its calls and its kind."""
    parts: list[str] = []
    each: BaseException | None = error
    while each is not None and len(parts) < 10:
        kind = f"{type(each).__module__}.{type(each).__qualname__}".removeprefix("builtins.")
        calls = "".join(traceback.format_tb(each.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{calls}{kind} (its words are not logged)")
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return "\n\nand then:\n\n".join(reversed(parts))
