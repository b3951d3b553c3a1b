"""Where a service listens and what its settings say in, whether it demands keys out; or why it must not start."""

import ipaddress
from functools import lru_cache
from typing import Final

from features.errors import InputError
from features.settings import Settings
from serving.access.keys import read_keys

RATES_FILE: Final = "OMNI_RATES_FILE"
"""Environment variable with the file in which the workers of one service count together how often each key asks."""


def access_on(settings: Settings, host: str) -> str:
    """`keys` or `open`, as the settings say; by themselves keys where others than this machine reach `host`.

    Raises InputError where keys are demanded and the home has none: nobody could ask anything.
    """
    access = settings.access
    if access == "auto":
        access = "open" if is_loopback(host) else "keys"
    if access == "keys" and not settings.admin_key and not read_keys(settings.home):
        where = "" if is_loopback(host) else f" on {host}, where others than this machine reach it,"
        raise InputError(
            f"A service{where} demands keys, and this home has none.",
            repair="Make one (omni key create NAME --scope ask), or pass --insecure if a gateway asks for you.",
        )
    return access


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
