"""Registers the definitions with Feast and makes its stores, in a process of its own: `python -m features.store.apply`.

So whoever only reads and writes rows need not import Feast for the one time after an installation or an update.
"""

import logging
import os
import subprocess
import sys

from features.errors import OmniError, StoreError
from features.settings import Settings
from features.store.repository import FeastFolder

logger = logging.getLogger(__name__)


def apply_elsewhere(settings: Settings) -> None:
    """Have another process do what `Store.apply` does, where anything has to be done; raises StoreError where it cannot."""
    if FeastFolder(settings).is_applied():
        return
    done = subprocess.run([sys.executable, "-m", "features.store.apply"], env=_environment(settings), check=False)
    if done.returncode:
        raise StoreError("Feast's stores cannot be made.", repair="See the lines above this one.")


def main() -> int:
    """Apply the definitions to the places that the environment names."""
    from features.store.feature_store import Store

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        Store(Settings.from_env(os.environ)).apply()
    except OmniError as error:
        logger.error("%s", error)
        return 2
    return 0


def _environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, "OMNI_HOME": str(settings.home)}


if __name__ == "__main__":
    sys.exit(main())
