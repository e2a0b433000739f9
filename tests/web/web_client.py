"""A client for the local page in tests, and what is in a page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from starlette.testclient import TestClient

from strop.web.app import create_app
from strop.web.site import Site, url


def open_site(folder: Path, **options) -> TestClient:
    site = Site(folder, **options)
    return TestClient(create_app(site), base_url="http://127.0.0.1:8640", raise_server_exceptions=True)


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def links(page: str) -> list[str]:
    return [attributes["href"] for tag, attributes in Elements(page).tags if tag == "a" and attributes.get("href")]


def pages_of(run: str, stage: str, task: str) -> list[str]:
    """Every page about one run."""
    return [
        url("/run", run=run), url("/samples", run=run), url("/samples", run=run, stage=stage, status="failed"),
        url("/sample", run=run, stage=stage, task=task, n=0), url("/program.txt", run=run, stage=stage, task=task, n=0),
        url("/task", run=run, id=task), url("/curves", run=run), url("/state", run=run), url("/trees", run=run),
        url("/tree", run=run, key="none"), url("/compare", a=run), url("/compare", a=run, b="real"),
        url("/arena", run=run), url("/arena", run=run, against="real"), url("/arena/ranking", run=run),
    ]  # fmt: skip
