"""A judge for tests in which what programs do is not the point."""

from __future__ import annotations

from strop.types import Verdict


class AcceptAll:
    """The judge's interface; what programs do is not the point here."""

    def stream(self, jobs):
        for key, _, _ in jobs:
            yield key, Verdict(status="passed", fraction=1.0)
