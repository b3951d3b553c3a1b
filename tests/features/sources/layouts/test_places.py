"""Where data lies and what it is written in: files told by their content, folders, zips, object stores and databases."""

import bz2
import gzip
import io
import json
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import fastavro
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError
from features.sources.mapping import load_mapped
from features.sources.readers import ReadOptions, read_query, read_rows
from tests.local_servers import postgres_server

ROWS: list[dict[str, Any]] = [{"no": "1", "who": "ä", "n": "2.5"}, {"no": "2", "who": "b", "n": "3"}]
CSV = ("no,who,n\n" + "".join(",".join(row.values()) + "\n" for row in ROWS)).encode()
MAPPING = """
[columns]
event_id = "no"
occurred_at = "at"
customer_id = "who"
[constants]
kind = "visit"
channel = "web"
"""
LINES = "\n".join(json.dumps(row) for row in ROWS).encode()


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


def avro() -> bytes:
    sink = io.BytesIO()
    fields = [{"name": name, "type": ["null", "string"]} for name in ROWS[0]]
    fastavro.writer(sink, {"type": "record", "name": "row", "fields": fields}, ROWS)
    return sink.getvalue()


def workbook() -> bytes:
    """The least that a spreadsheet program takes for one: an empty sheet, and one with the rows."""
    cells = [list(ROWS[0]), *(list(row.values()) for row in ROWS)]
    rows = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{escape(text)}</t></is></c>' for text in row) + "</row>"
        for row in cells
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    ids = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kinds}.sheet.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r" Type="{ids}/officeDocument"'
        ' Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{ids}"><sheets><sheet name="Empty" sheetId="1" r:id="r1"/>'
        '<sheet name="Sales" sheetId="2" r:id="r2"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{ids}/worksheet" Target="worksheets/sheet1.xml"/>'
        f'<Relationship Id="r2" Type="{ids}/worksheet" Target="worksheets/sheet2.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData/></worksheet>',
        "xl/worksheets/sheet2.xml": f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>',
    }
    return zipped(files)


def zipped(files: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return sink.getvalue()


def objects(place: str | Path, **options: Any) -> list[dict[str, Any]]:
    """Every row, without those that cannot be read; the numbers of all follow each other."""
    batches = list(read_rows(place, ReadOptions(**options)))
    numbers = [number for batch in batches for number in batch.numbers.tolist()]
    assert numbers == sorted(set(numbers))
    return [row for batch in batches for row in batch.objects()]


CONTENTS: dict[str, Callable[[], bytes]] = {
    "csv": lambda: CSV,
    "semicolons": lambda: CSV.replace(b",", b";"),
    "json lines": lambda: LINES,
    "json array": lambda: json.dumps(ROWS).encode(),
    "json array over lines": lambda: json.dumps(ROWS, indent=2).encode(),
    "json objects over lines": lambda: "\n".join(json.dumps(row, indent=1) for row in ROWS).encode(),
    "parquet": parquet,
    "avro": avro,
    "workbook": workbook,
    "zip of two": lambda: zipped(
        {"a.csv": CSV[: CSV.index(b"2,b")], "b.csv": b"no,who,n\n2,b,3\n", "_x": b"", ".y": b"?", "z/": b""}
    ),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress], ids=["plain", "gzip", "bzip2"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_a_file_is_read_by_what_it_holds(tmp_path: Path, kind: str, pack: Callable[[bytes], bytes]) -> None:
    if kind == "zip of two" and pack is not bytes:
        pytest.skip("a zip is packed already")
    (tmp_path / "part-00000").write_bytes(pack(CONTENTS[kind]()))
    assert objects(tmp_path / "part-00000") == ROWS


def test_a_folder_is_read_in_the_order_of_its_parts_without_what_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "sales"
    for name, content in {
        "day=1/part-0": CSV,
        "day=2/part-0.gz": gzip.compress(LINES),
        "_SUCCESS": b"",
        ".crc": b"x",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    rows = objects(folder)
    assert rows == [{**row, "day": day} for day in "12" for row in ROWS]
    assert objects(str(folder / "*" / "part-0")) == rows[:2]


def test_a_long_array_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.sources.readers.json_text._BLOCK_BYTES", 7)
    many = [{"n": n, "text": "ä]},{" * n} for n in range(60)]
    (tmp_path / "a.json").write_text(json.dumps(many, ensure_ascii=False), encoding="utf-8")
    assert objects(tmp_path / "a.json") == many
    (tmp_path / "a.json").write_text(json.dumps(many)[:-40])
    with pytest.raises(InputError, match="is not JSON"):
        objects(tmp_path / "a.json")


def test_blocks_of_text_lose_only_the_rows_that_are_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.sources.readers.delimited._BLOCK_BYTES", 16)
    lines = [f"{n},a,1" for n in range(40)]
    lines[11], lines[23] = "11,b", "23,\udcff,1"
    text = "\n".join(["no,who,n", *lines, ""]).encode("utf-8", "surrogateescape")
    (tmp_path / "a.csv").write_bytes(text)
    batches = list(read_rows(tmp_path / "a.csv"))
    good = [(number, row["no"]) for b in batches for number, row in zip(b.numbers.tolist(), b.objects(), strict=True)]
    bad = [(row["index"], row["field"]) for batch in batches for row in batch.rejected.to_pylist()]
    assert good == [(n, str(n)) for n in range(40) if n not in (11, 23)]
    assert bad == [(11, "row"), (23, "who")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_utf_16_says_so_and_is_read_when_it_is_said(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(CSV.decode().encode(encoding))
    with pytest.raises(InputError, match=f'encoding = "{encoding}"'):
        objects(tmp_path / "a.csv")
    assert objects(tmp_path / "a.csv", encoding=encoding) == ROWS


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A bucket of an S3 server on this machine."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    environment = {
        "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"], region_name="us-east-1")
        client.create_bucket(Bucket="shop")
        yield client
    server.stop()


def test_an_object_store_is_read_like_a_folder(bucket: Any) -> None:
    for key, content in {
        "a/1.parquet": parquet(),
        "a/2.csv.gz": gzip.compress(CSV),
        "a/_SUCCESS": b"x",
        "b.json": LINES,
    }.items():
        bucket.put_object(Bucket="shop", Key=key, Body=content)
    assert objects("s3://shop/a") == [*ROWS, *ROWS]
    assert objects("s3://shop/a/*.gz") == objects("s3://shop/b.json") == ROWS
    with pytest.raises(InputError, match="s3://shop/c"):
        objects("s3://shop/c")


def test_a_query_of_postgres_is_read_with_its_types() -> None:
    with postgres_server() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE sale (no bigint, at timestamptz, who numeric, tags jsonb)")
            connection.execute("""INSERT INTO sale VALUES (1, '2025-01-01 10:00+02', 7, '{"a": {"b": "x"}}')""")
        [batch] = list(read_query("SELECT * FROM sale", url))
        [row] = batch.objects()
        assert (row["no"], row["tags"], row["at"]) == (1, {"a": {"b": "x"}}, datetime(2025, 1, 1, 8, tzinfo=UTC))
        with pytest.raises(InputError, match="nothing_there"):
            list(read_query("SELECT * FROM nothing_there", url))


def test_a_query_of_sqlite_is_mapped_like_a_file(tmp_path: Path) -> None:
    from features.sources.mapping import map_rows

    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE sale (no, at, who)")
        connection.execute("INSERT INTO sale VALUES (1, '2025-01-01T00:00:00Z', 7)")
    (tmp_path / "map.toml").write_text(MAPPING)
    rows = read_query("SELECT * FROM sale", f"sqlite:///{tmp_path / 'shop.db'}")
    [batch] = list(map_rows(rows, "The query", tmp_path / "map.toml"))
    assert batch.events.select(["event_id", "customer_id"]).to_pylist() == [{"event_id": "1", "customer_id": "7"}]
    with pytest.raises(InputError, match="no database that we can ask"):
        read_query("SELECT 1", "oracle://x")


def test_a_mapping_reads_a_folder_as_one_file(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(MAPPING)
    (tmp_path / "sales").mkdir()
    for part in range(2):
        (tmp_path / "sales" / f"{part}.csv").write_text(f"no,who,at\n{part},a,2025-01-01\n")
    events = [
        row for batch in load_mapped(tmp_path / "sales", tmp_path / "map.toml") for row in batch.events.to_pylist()
    ]
    assert [event["event_id"] for event in events] == ["0", "1"]
