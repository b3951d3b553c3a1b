"""Whatever works on a build refuses one that holds events which the log does not, and names the command that mends it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import StoreError
from features.log.engines import open_log
from features.offline.build_note import BuildNote, check_of_log, layout, places, write_note
from features.settings import Settings
from serving.campaigns.audience import export_audience
from serving.campaigns.bulk import decide_all
from training.pipeline import data_fingerprint
from training.report.build import build_report
from training.report.config import ReportConfig


@pytest.fixture
def built(tmp_path: Path) -> Settings:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    log = open_log(settings)
    note = BuildNote("f" * 16, layout(), 9, 9, 1, 9, "", places(settings), str(replace(log.anchor(), seq=9, mark=1)))
    log.close()
    settings.timeline_path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"customer_id": ["ada"]}), settings.timeline_path)
    write_note(settings, note)
    return settings


WORK: dict[str, Callable[[Settings, Path], object]] = {
    "decide": lambda settings, out: decide_all(settings, out),
    "audience": lambda settings, out: export_audience(settings, "lifecycle = 'active'", out),
    "train": lambda settings, _: data_fingerprint(settings),
    "report": lambda settings, _: build_report(settings, ReportConfig()),
}


@pytest.mark.parametrize("work", WORK)
def test_it_is_refused_before_anything_is_written(built: Settings, tmp_path: Path, work: str) -> None:
    out = tmp_path / "out.parquet"
    with pytest.raises(StoreError, match=r"does not hold.* omni features build"):
        WORK[work](built, out)
    assert not out.exists()


def test_a_build_of_the_log_as_it_was_then_is_none_of_another_one(built: Settings) -> None:
    log = open_log(built)
    note = BuildNote("f" * 16, layout(), 0, 0, 0, 0, "", places(built), str(log.anchor()))
    write_note(built, note)
    check_of_log(built, log)
    log.renew_id()
    with pytest.raises(StoreError):
        check_of_log(built, log)
    log.close()
