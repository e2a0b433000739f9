"""The application: addresses, and one place where everything that can go wrong becomes a page."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl

from strop.types import StropError
from strop.web import arena_pages, library_pages, run_pages
from strop.web.guard import MOST_BODY, Guard
from strop.web.site import NotThere, Site, script, style_sheet

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

Page: TypeAlias = Callable[..., Any]

PAGES: dict[str, Page] = {
    "/": run_pages.runs,
    "/run": run_pages.run,
    "/samples": run_pages.samples,
    "/sample": run_pages.sample,
    "/program.txt": run_pages.raw,
    "/curves": run_pages.curves,
    "/state": run_pages.state,
    "/trees": run_pages.trees,
    "/tree": run_pages.tree,
    "/compare": run_pages.compare,
    "/papers": library_pages.papers,
    "/paper": library_pages.paper,
    "/plot.svg": library_pages.plot,
    "/plot.png": library_pages.plot,
    "/tasks": library_pages.tasks,
    "/task": library_pages.task,
    "/arena": arena_pages.show,
    "/arena/ranking": arena_pages.ranking,
    "/arena/output": arena_pages.output,
}
FORMS: dict[str, Page] = {"/arena/run": arena_pages.run_pair, "/arena/vote": arena_pages.vote}


def create_app(site: Site) -> Any:
    """The ASGI application for `site`."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        site.stage.close()

    routes = [Route(path, _shown(site, page)) for path, page in PAGES.items()]
    routes += [Route(path, _sent(site, page), methods=["POST"]) for path, page in FORMS.items()]
    routes += [
        Route("/strop.css", _asset(style_sheet(), "text/css")),
        Route("/strop.js", _asset(script(), "text/javascript")),
    ]

    def unknown(request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        words = "There is no such page." if status == 404 else "This address does not take that kind of request."
        return site.page("problem.html.j2", status, title="Nothing here", words=words)

    def broken(request: Request, error: Exception) -> Response:
        return site.page(
            "problem.html.j2", 500, title="Strop failed",
            words="This is a defect of Strop, not of your data; the terminal says where. Other pages work.",
        )  # fmt: skip

    handlers: Any = {404: unknown, 405: unknown, 500: broken}
    # The guard stands outside all of it, so that its headers are on the page of a failure too.
    return Guard(Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan))


def _answer(site: Site, page: Page, request: Request, *given: Any) -> Response:
    try:
        return page(site, request, *given)
    except NotThere as error:
        return site.page("problem.html.j2", 404, title="Nothing here", words=str(error))
    except StropError as error:
        return site.page("problem.html.j2", 422, title="This cannot be shown", words=str(error))
    except RecursionError:
        return site.page("problem.html.j2", 422, title="This cannot be shown", words="It is nested too deeply.")


def _shown(site: Site, page: Page) -> Page:
    from starlette.concurrency import run_in_threadpool

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(_answer, site, page, request)

    return endpoint


def _sent(site: Site, page: Page) -> Page:
    from starlette.concurrency import run_in_threadpool

    async def endpoint(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BODY:
                return _too_much(site)
        try:
            form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20))
        except ValueError:
            return _too_much(site)
        if not secrets.compare_digest(form.get("token", "").encode(), site.token.encode()):
            words = "This form is from an earlier start of `strop view`. Load the page again and repeat."
            return site.page("problem.html.j2", 403, title="This form is old", words=words)
        return await run_in_threadpool(_answer, site, page, request, form)

    return endpoint


def _too_much(site: Site) -> Response:
    return site.page("problem.html.j2", 413, title="Too much", words="This form is too large.")


def _asset(text: str, kind: str) -> Page:
    from starlette.responses import Response

    async def endpoint(request: Request) -> Response:
        # The address holds the version, so a copy may be kept.
        return Response(text, media_type=kind, headers={"cache-control": "private, max-age=86400"})

    return endpoint
