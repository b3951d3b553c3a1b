"""Paths of pages in, files out: all of them lie here, or in the package that brings Swagger UI; none comes from a CDN."""

from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

_OWN: Final = Path(__file__).parent.parent / "console"
_SWAGGER_FILES: Final = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
_A_DAY: Final = {"Cache-Control": "public, max-age=86400"}


def page_routes() -> list[Route]:
    """The console, the contract to try out with what that page loads, and the snippet for shops."""
    return [
        Route("/", partial(_own_file, "index.html", "text/html"), methods=["GET"]),
        Route("/docs", partial(_own_file, "docs.html", "text/html"), methods=["GET"]),
        Route("/docs/{file}", _swagger_file, methods=["GET"]),
        Route("/omni.js", partial(_own_file, "omni.js", "text/javascript"), methods=["GET"]),
    ]


async def _own_file(name: str, media_type: str, request: Request) -> Response:
    return FileResponse(_OWN / name, media_type=media_type)


async def _swagger_file(request: Request) -> Response:
    name = request.path_params["file"]
    if name not in _SWAGGER_FILES:
        raise HTTPException(404)
    return FileResponse(swagger_folder() / name, headers=_A_DAY)


@cache
def swagger_folder() -> Path:
    """Where Swagger UI lies. The package is not imported: that would bring Flask in."""
    package = find_spec("flask_swagger_ui")
    assert package is not None and package.origin is not None, "flask-swagger-ui is not installed"
    return Path(package.origin).parent / "dist"
