"""What may befall a file, and what kind each file under OMNI_HOME is: a path comes in, a damaged file or a word goes out."""

import shutil
from collections.abc import Callable
from pathlib import Path


def halve(path: Path) -> None:
    """Only the first half is left, as of a copy that was cut short."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    """Nothing is left in it, as after a power cut on some file systems."""
    path.write_bytes(b"")


def flip(path: Path, at: float = 0.5) -> None:
    """One bit is another one, that far into the file."""
    content = bytearray(path.read_bytes())
    if content:
        content[min(int(len(content) * at), len(content) - 1)] ^= 0x10
    path.write_bytes(content)


def flip_early(path: Path) -> None:
    """One bit is another one, in the first quarter."""
    flip(path, 0.2)


def flip_late(path: Path) -> None:
    """One bit is another one, in the last quarter."""
    flip(path, 0.8)


def zero(path: Path) -> None:
    """As long as it was, and full of zeros, as after a power cut on some file systems."""
    path.write_bytes(bytes(path.stat().st_size))


def make_folder(path: Path) -> None:
    """A folder has its name."""
    path.unlink()
    path.mkdir()


def delete(path: Path) -> None:
    """It is gone."""
    path.unlink()


def lock_away(path: Path) -> None:
    """Nobody may read or write it. Root may all the same; `Prober` is without that privilege."""
    path.chmod(0)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut in half": halve,
    "emptied": empty,
    "zeros": zero,
    "a bit flipped": flip,
    "a bit flipped early": flip_early,
    "a bit flipped late": flip_late,
    "a folder instead": make_folder,
    "deleted": delete,
    "unreadable": lock_away,
}

KINDS: tuple[tuple[str, str], ...] = (
    ("events.db*", "event log"),
    ("feast/online.db*", "online store"),
    ("feast/stream.db*", "checkpoint of the stream"),
    ("feast/*", "Feast's registry and configuration"),
    ("offline/build.json", "note of the build"),
    ("offline/products.parquet", "product table"),
    ("offline/stock.parquet", "stock"),
    ("offline/*", "timeline and states"),
    ("mlflow/mlflow.db*", "model registry"),
    ("mlflow/artifacts/*", "models"),
    ("models/*", "kept copies of models"),
    ("quarantine/*", "quarantine"),
    ("run/rules.json", "rules in force"),
    ("run/*", "notes of a service"),
    ("rejected/*", "rejected rows"),
    ("erasures/*", "erasures"),
    ("tuning/*", "searches"),
    ("backups.json", "list of backups"),
    ("ingested.json", "note of what was ingested"),
    ("keys.json", "keys"),
    ("settings.toml", "settings.toml"),
    ("identity.toml", "identity.toml"),
    ("rules.toml", "rules.toml"),
    ("limits.toml", "limits.toml"),
    ("quality.toml", "quality.toml"),
    ("report.toml", "report.toml"),
    ("rates.csv", "rates.csv"),
    ("*.log", "what a service said"),
    ("*.lock", "locks"),
)
"""What a path below OMNI_HOME is, by the first pattern that fits."""


def kind_of(path: Path) -> str:
    """What a file is; fails for one that the table does not name. `path` is relative to OMNI_HOME."""
    for pattern, kind in KINDS:
        if path.full_match(pattern) if hasattr(path, "full_match") else _fits(path, pattern):
            return kind
    raise AssertionError(f"{path} is of no kind that the table of damages names")


def _fits(path: Path, pattern: str) -> bool:
    from fnmatch import fnmatch

    return fnmatch(path.as_posix(), pattern)


def files_under(home: Path) -> list[Path]:
    """Every file, relative to `home`; not the locks' own, which hold nothing."""
    return sorted(path.relative_to(home) for path in home.rglob("*") if path.is_file())


def copy_damaged(home: Path, copy: Path, file: Path, damage: str) -> None:
    """Put a copy of `home` at `copy` in which `file` is damaged; an empty `damage` leaves it as it is."""
    shutil.copytree(home, copy)
    if damage:
        DAMAGES[damage](copy / file)
