"""Another engine for a home: its log's events go into the one that the environment names, and its features are built.

`OMNI_BENCH_FROM` is the URL of the log that has the events.
"""

import os
from dataclasses import replace

from features.build import build_features
from features.log.engines import open_log
from features.settings import Settings

CHUNK = 50_000


def main() -> None:
    """Copy and build."""
    settings = Settings.from_env(os.environ)
    before = open_log(replace(settings, event_log_url=os.environ["OMNI_BENCH_FROM"]))
    after = open_log(settings)
    for table in before.read(0, CHUNK):
        after.append(table.select([name for name in table.column_names if name != "seq"]))
    before.close()
    after.close()
    build_features(settings, lambda _: None)


if __name__ == "__main__":
    main()
