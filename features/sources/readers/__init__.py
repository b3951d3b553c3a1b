"""Where data lies and how it is to be read come in; batches of its raw rows go out, whatever its format is.

`read_rows` takes a file, a folder, a pattern, a zip or the address of an object store; what a file holds is told by its first
bytes, never by its ending. `read_query` does the same for a database.
"""

from features.sources.readers.databases import read_query
from features.sources.readers.options import BATCH_ROWS, ReadOptions
from features.sources.readers.parts import read_rows
from features.sources.readers.rows import RawRows

__all__ = ["BATCH_ROWS", "RawRows", "ReadOptions", "read_query", "read_rows"]
