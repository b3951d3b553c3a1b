"""A process id in, whether there is such a process out."""

import os


def is_alive(pid: int) -> bool:
    """Whether the process is there, whosever it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # there, and another user's
        pass
    return True
