"""What the server of a worker runs on, as BentoML configures it: uvloop, httptools, and our app before BentoML's layers."""

from typing import Any

import pytest
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.guard import slow_heads


async def bentomls(scope: Any, receive: Any, send: Any) -> None:
    pass


async def ours(scope: Any, receive: Any, send: Any) -> None:
    pass


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> uvicorn.Config:
    monkeypatch.setattr(uvicorn.config, "HTTP_PROTOCOLS", dict(uvicorn.config.HTTP_PROTOCOLS))
    slow_heads.install()
    config = uvicorn.Config(bentomls, log_config=None)
    config.load()
    return config


def test_the_compiled_loop_and_parser_are_in_use(config: uvicorn.Config) -> None:
    factory = config.get_loop_factory()
    assert factory is not None
    loop = factory()
    try:
        assert type(loop).__module__ == "uvloop"
    finally:
        loop.close()
    assert issubclass(config.http_protocol_class, HttpToolsProtocol)  # type: ignore[arg-type]
    assert config.http_protocol_class is slow_heads.ImpatientProtocol


def test_our_app_is_told_whom_a_proxy_asks_for_as_uvicorns_own_is(config: uvicorn.Config) -> None:
    first = slow_heads._behind_proxies(ours, config.forwarded_allow_ips)
    assert isinstance(first, ProxyHeadersMiddleware)
    assert first.app is ours
    trusted, uvicorns = first.trusted_hosts, config.loaded_app.trusted_hosts  # type: ignore[union-attr]
    assert trusted.trusted_hosts == uvicorns.trusted_hosts != set()
    assert trusted.always_trust is uvicorns.always_trust is False
    assert slow_heads._behind_proxies(ours, config.forwarded_allow_ips) is first
