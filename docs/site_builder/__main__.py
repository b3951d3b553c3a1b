"""A folder comes in (`python -m site_builder FOLDER`), the sources of the whole site lie in it afterwards."""

import shutil
import sys
from pathlib import Path

from site_builder import gather, reference


def main(folder: Path) -> None:
    """Write the site's sources to `folder`, which is emptied first: pages, pictures, and the reference."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in (gather.pages() | reference.pages()).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for source, name in gather.files().items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
