"""A small file and its mapping come in; what an ingest of them says and what landed go out."""

import json
from pathlib import Path
from typing import Any

import pytest

from features.errors import InputError
from features.ingest import ingest
from features.log.engines import open_log
from features.settings import Settings

SALE = """
event_id_from = ["no"]
[columns]
occurred_at = "at"
customer_id = "who"
product_id = "sku"
value = "paid"
[constants]
kind = "purchase"
channel = "web"
currency = "EUR"
"""
WHO = '\n[columns]\noccurred_at = "at"\ncustomer_id = "who"\n[constants]\nkind = "visit"\nchannel = "web"\n'


def bring(folder: Path, name: str, content: str | list[dict[str, Any]], mapping: str, **options: Any) -> Any:
    """The report, and the events by id, of a file of text or of objects."""
    text = content if isinstance(content, str) else "\n".join(map(json.dumps, content))
    (folder / name).write_text(text, encoding="utf-8")
    (folder / "map.toml").write_text(mapping, encoding="utf-8")
    settings = Settings.from_env({"OMNI_HOME": str(folder / "home")})
    report = ingest(str(folder / name), settings, mapping=folder / "map.toml", **options)
    log = open_log(settings)
    events = {row["event_id"]: row for batch in log.read() for row in batch.to_pylist()}
    log.close()
    return report, events


def refusal(folder: Path, name: str, content: str | list[dict[str, Any]], mapping: str, **options: Any) -> str:
    """What is said of a file that is refused as a whole: nothing of it lands."""
    with pytest.raises(InputError) as caught:
        bring(folder, name, content, mapping, **options)
    log = open_log(Settings.from_env({"OMNI_HOME": str(folder / "home")}))
    assert log.last_seq() == 0
    log.close()
    return str(caught.value)


def sale(no: str, **more: Any) -> dict[str, Any]:
    return {"no": no, "at": "2025-02-01T10:00:00Z", "who": "a", "sku": "tea", "paid": 5, **more}
