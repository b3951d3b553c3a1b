"""A condition on the columns of an audience, in DuckDB's SQL: `churn_probability > 0.6 AND consent_email`.

It is one expression that says yes or no of a row, nothing else: no query, no file, no setting. A comparison with a missing
value does not hold.
"""

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from features.arrays import BoolArray
from features.errors import InputError

MAX_LENGTH: Final = 2_000
_EXAMPLE: Final = "Write it like: churn_probability > 0.6 AND value_decile >= 8 AND consent_email"
_ALONE: Final[dict[str, Any]] = {
    "config": {
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "lock_configuration": "true",
    }
}
"""A database in memory that reaches no file, no server and no variable of this process."""
_REFUSED: Final = {"SUBQUERY": "query", "WINDOW": "window function", "STAR": "*", "PARAMETER": "parameter"}
"""Classes of DuckDB's expressions that are more than a condition on one row."""


@dataclass(frozen=True)
class Condition:
    """An expression that DuckDB can read, and the columns that it names."""

    text: str
    columns: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a condition. Raises InputError that says where it goes wrong."""
        if len(text) > MAX_LENGTH:
            raise InputError(f"The condition has {len(text)} characters.", repair=f"Use at most {MAX_LENGTH}.")
        prefix = "SELECT "
        with duckdb.connect(**_ALONE) as connection:
            try:
                answer = connection.execute("SELECT json_serialize_sql(?)", [prefix + text]).fetchone()
            except duckdb.Error as error:
                raise InputError(f"The condition {text!r} cannot be read ({_line(error)}).", repair=_EXAMPLE) from error
        tree = json.loads(answer[0]) if answer else {"error": True}
        if tree.get("error"):
            place = f" at character {int(tree['position']) - len(prefix) + 1}" if "position" in tree else ""
            what = tree.get("error_message", "no answer")
            raise InputError(f"The condition {text!r} cannot be read{place} ({what}).", repair=_EXAMPLE)
        nodes = list(_nodes(_expression(tree, text)))
        for node in nodes:
            if node.get("class") in _REFUSED:
                raise InputError(f"A condition holds no {_REFUSED[node['class']]}.", repair=_EXAMPLE)
        names = (".".join(node["column_names"]) for node in nodes if node.get("class") == "COLUMN_REF")
        return cls(text, tuple(dict.fromkeys(names)))

    def check(self, names: Sequence[str]) -> None:
        """Raise InputError, with the candidates, where it names a column that is not among `names`."""
        known = {name.lower() for name in names}
        for column in self.columns:
            if column.lower() in known:
                continue
            near = difflib.get_close_matches(column, names, n=1)
            hint = f" Did you mean {near[0]}?" if near else " Text stands in single quotes."
            raise InputError(f"There is no column {column!r}.{hint}", repair=f"Columns: {', '.join(names)}.")

    def select(self, table: pd.DataFrame) -> BoolArray:
        """Which rows (n,) fulfil it. Raises InputError for what cannot be said of these columns."""
        self.check([str(name) for name in table.columns])
        arrow = pa.Table.from_pandas(table, preserve_index=False)  # what pandas holds as NaN is missing there
        with duckdb.connect(**_ALONE) as connection:
            connection.register("audience", arrow)
            try:
                answer = connection.sql(f"SELECT ({self.text}\n) AS chosen FROM audience")
                if answer.types[0] != duckdb.sqltypes.BOOLEAN:
                    raise InputError(
                        f"{self.text} is not yes or no.", repair=f"Compare it, for example: {self.text} > 0"
                    )
                connection.sql(f"SELECT 1 FROM audience WHERE ({self.text}\n)")  # binds only conditions on one row
                chosen = answer.to_arrow_table().column(0)
            except duckdb.Error as error:
                raise InputError(
                    f"The condition {self.text!r} cannot be used: {_line(error)}", repair=_EXAMPLE
                ) from error
        return np.asarray(chosen.fill_null(False).to_numpy(), dtype=np.bool_)


def _expression(tree: dict[str, Any], text: str) -> dict[str, Any]:
    """The one expression of a statement that selects nothing but it."""
    statements = tree["statements"]
    node = statements[0]["node"] if len(statements) == 1 else {}
    plain = (
        node.get("type") == "SELECT_NODE"
        and len(node["select_list"]) == 1
        and node["from_table"]["type"] == "EMPTY"
        and not any(node.get(part) for part in ("where_clause", "having", "qualify", "sample", "modifiers"))
        and not node["group_expressions"]
        and not node["cte_map"]["map"]
    )
    if not plain:
        raise InputError(f"{text!r} is more than a condition.", repair=_EXAMPLE)
    return dict(node["select_list"][0])


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from _nodes(child)
    elif isinstance(node, list):
        for child in node:
            yield from _nodes(child)


def _line(error: duckdb.Error) -> str:
    """DuckDB's words without the drawing under them."""
    return str(error).partition("\n")[0].strip()
