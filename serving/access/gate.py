"""A request's headers in, who asks and what they may out; or an error for whoever has no key, a wrong one, or asks too often.

The file of keys is looked at again every half second, and when an unknown key comes: a key that was made counts at once, one
that was revoked opens no worker half a second later. A file that is damaged changes nothing; one that is gone, or damaged
when a worker starts, opens nothing. Where keys are demanded they are demanded still.
"""

import base64
import binascii
import hmac
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from features.errors import StoreError
from features.settings import Settings
from serving import problems
from serving.access.keys import KEYS_FILE, PREFIX, ApiKey, Scope, digest, read_keys
from serving.access.listening import RATES_FILE, is_loopback
from serving.access.rates import Rates
from serving.guard.peers import peer_of

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.5
BROWSER_RATE: Final = 10.0
"""Requests per second of one visitor's address, unless the browser's key has a rate of its own."""
BOOKKEEPING_HEADER: Final = b"omni-bookkeeping-key"
BROWSER_ROUTES: Final = ("/v1/events", "/v1/next-products", "/v1/similar", "/v1/bought-together", "/v1/popular")
"""What pages in browsers may ask, within the rules of `serving.access.browser`."""
NEEDS: Final[dict[tuple[str, str], tuple[Scope, ...]]] = {
    ("POST", "/v1/events"): (Scope.INGEST,),
    ("POST", "/v1/next-products"): (Scope.ASK,),
    ("POST", "/v1/churn"): (Scope.ASK,),
    ("POST", "/v1/best-channel"): (Scope.ASK,),
    ("POST", "/v1/decide"): (Scope.DECIDE,),
    ("POST", "/v1/whatif"): (Scope.ADMIN,),
    ("POST", "/v1/next-products:batch"): (Scope.ASK,),
    ("POST", "/v1/predict:batch"): (Scope.ASK,),
    ("POST", "/v1/similar"): (Scope.ASK,),
    ("POST", "/v1/bought-together"): (Scope.ASK,),
    ("POST", "/v1/popular"): (Scope.ASK,),
    ("GET", "/v1/customers/{customer_id}"): (Scope.ASK,),
    ("DELETE", "/v1/customers/{customer_id}"): (Scope.ERASE,),
    ("GET", "/v1/models"): (Scope.ASK, Scope.DECIDE, Scope.METRICS),
    ("GET", "/v1/offers"): (Scope.OFFERS, Scope.DECIDE),
    ("GET", "/v1/offers/{offer_id}"): (Scope.OFFERS, Scope.DECIDE),
    ("PUT", "/v1/offers/{offer_id}"): (Scope.OFFERS,),
    ("DELETE", "/v1/offers/{offer_id}"): (Scope.OFFERS,),
    ("GET", "/v1/suppressions"): (Scope.OFFERS,),
    ("GET", "/v1/suppressions/{name}"): (Scope.OFFERS,),
    ("PUT", "/v1/suppressions/{name}"): (Scope.OFFERS,),
    ("DELETE", "/v1/suppressions/{name}"): (Scope.OFFERS,),
    ("PUT", "/v1/products"): (Scope.OFFERS,),
    ("PUT", "/v1/stock"): (Scope.OFFERS,),
    ("GET", "/metrics"): (Scope.METRICS,),
    ("GET", "/readyz"): (Scope.METRICS,),
}
"""Of which scopes each route needs one; what is not listed needs `admin`."""
TELLING: Final = frozenset((b"authorization", b"x-api-key", BOOKKEEPING_HEADER, b"origin", b"sec-fetch-site"))
"""Headers that say who asks."""
_EVERYTHING: Final = frozenset(Scope) - {Scope.BROWSER}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    name: str
    """The key's name, for the log; empty: nobody gave one."""
    scopes: frozenset[Scope]
    is_public: bool = False
    """Whether it is a page in a browser, held to what such pages may do."""
    bucket: str = ""
    rate: float | None = None

    @property
    def keeps_books(self) -> bool:
        """Whether decisions may come in from here."""
        return bool(self.name) and Scope.BOOKKEEPING in self.scopes


ANYBODY: Final = Caller("", _EVERYTHING)
"""Who asks where nobody needs a key."""
PAGE: Final = Caller("", frozenset({Scope.BROWSER}), is_public=True, bucket="page", rate=BROWSER_RATE)
"""A page of an allowed origin, where nobody needs a key."""
_BOOKKEEPER: Final = Caller("bookkeeping", frozenset({Scope.INGEST, Scope.BOOKKEEPING}))


class Gate:
    """Lets requests in, or not, by the keys and settings of a home; belongs to one event loop."""

    def __init__(self, settings: Settings | None = None, rates: Rates | None = None) -> None:
        """Without settings everything is open. A file of keys that cannot be used opens nothing."""
        self._home = None if settings is None else settings.home
        self._access = "open" if settings is None else settings.access
        self._admin = digest(settings.admin_key) if settings is not None and settings.admin_key else ""
        self._bookkeeping = settings.bookkeeping_key if settings is not None else ""
        self._rate = settings.rate_limit if settings is not None else 0.0
        self.origins: frozenset[str] = frozenset() if settings is None else frozenset(settings.cors_origins)
        """Origins whose pages may ask what a browser may ask."""
        self._rates = rates or Rates()
        self._keys: dict[str, tuple[ApiKey, Caller]] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._looked_at = time.monotonic()
        self._look()

    @classmethod
    def from_env(cls, settings: Settings, env: Mapping[str, str]) -> "Gate":
        """The gate of a worker: with a file that the service names, all of its workers count together."""
        file = env.get(RATES_FILE)
        return cls(settings, Rates(Path(file) if file else None))

    def demands_keys(self, scope: Mapping[str, Any]) -> bool:
        """Whether who asks on this connection needs a key."""
        if self._access != "auto":
            return self._access == "keys"
        address, port = scope.get("server") or ("", None)  # where the connection came in; nobody can forge it
        return port is not None and not is_loopback(
            address
        )  # without a port it is a socket of this machine, or no connection

    def admit(self, scope: Mapping[str, Any], told: Mapping[bytes, bytes], route: str) -> Caller:
        """Who asks, where they may; `told` are its headers of `TELLING`. Raises ApiError: 401, 403 or 429."""
        caller = self.identify(scope, told)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        needs = NEEDS.get((method, route), (Scope.ADMIN,))
        may = route in BROWSER_ROUTES if caller.is_public else not caller.scopes.isdisjoint(needs)
        if not may:
            raise problems.missing_scope(needs)
        rate = self._rate if caller.rate is None else caller.rate
        if rate and caller.bucket:
            client = scope.get("client")
            bucket = f"{caller.bucket} {peer_of(client[0] if client else None)}" if caller.is_public else caller.bucket
            wait_s = self._rates.take(bucket, rate)
            if wait_s:
                raise problems.too_often(wait_s)
        return caller

    def identify(self, scope: Mapping[str, Any], told: Mapping[bytes, bytes]) -> Caller:
        """Who asks, whatever they ask. Raises ApiError (401) for whoever needs a key and has none, or a wrong one."""
        key = _key_of(scope, told)
        if key:
            caller = self._known(key)
            if caller is not None:
                return caller
            if key.startswith(PREFIX) or self.demands_keys(scope):
                raise problems.wrong_api_key()
        if self.demands_keys(scope):
            if self._keeps_books(told.get(BOOKKEEPING_HEADER, b"")):
                return _BOOKKEEPER
            raise problems.no_key()
        origin = told.get(b"origin")
        return PAGE if origin is not None and origin.decode("latin-1") in self.origins else ANYBODY

    def _keeps_books(self, sent: bytes) -> bool:
        return bool(self._bookkeeping) and hmac.compare_digest(sent, self._bookkeeping.encode())

    def _known(self, key: str) -> Caller | None:
        now = time.monotonic()
        key_id = key.removeprefix(PREFIX).partition("_")[0]
        if now - self._looked_at > LOOK_S or key_id not in self._keys:
            self._looked_at = now
            self._look()
        record, caller = self._keys.get(key_id, (None, None))
        if record is not None and caller is not None:
            if not record.is_of(key) or (record.expires_at is not None and record.has_expired(datetime.now(UTC))):
                return None
            return caller
        if self._admin and hmac.compare_digest(digest(key), self._admin):
            return Caller("OMNI_ADMIN_KEY", _EVERYTHING, bucket="OMNI_ADMIN_KEY")
        return None

    def _look(self) -> None:
        if self._home is None:
            return
        stamp = _stamp(self._home / KEYS_FILE)
        if stamp == self._stamp:
            return
        try:
            self._keys = {key.key_id: (key, _caller(key)) for key in read_keys(self._home)}
        except StoreError as error:
            logger.error("%s The keys known before stay in force.", error)
        self._stamp = stamp


def _caller(key: ApiKey) -> Caller:
    scopes = _EVERYTHING if Scope.ADMIN in key.scopes else frozenset(key.scopes)
    rate = BROWSER_RATE if key.is_public and key.rate is None else key.rate
    return Caller(key.name, scopes, key.is_public, key.key_id, rate)


def _key_of(scope: Mapping[str, Any], told: Mapping[bytes, bytes]) -> str:
    """The key that a request brings: a bearer's, a password, by itself, or in the address, of a beacon without headers."""
    if b"x-api-key" in told:  # first: the other header may be a gateway's
        return told[b"x-api-key"].strip().decode("latin-1")
    authorization = told.get(b"authorization")
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip().decode("latin-1")
    if authorization is not None and authorization[:6].lower() == b"basic ":  # all that some tools' webhooks can send
        try:
            named, _, password = base64.b64decode(authorization[6:].strip(), validate=True).partition(b":")
        except binascii.Error:
            return ""
        return (password or named).decode("latin-1")
    query: bytes = scope.get("query_string", b"")
    if query.startswith(b"key=omni_pk"):  # only what is no secret may stand in an address
        return query[4:].partition(b"&")[0].decode("latin-1")
    return ""


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
