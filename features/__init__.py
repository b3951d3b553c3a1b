"""What happened, who it happened to, and what was known when."""

from typing import Final

__version__: Final = "0.1.0"
"""Of the whole project; pyproject.toml reads it here, and whoever tells a version tells this one."""
