"""What the proxy's own pages tell: the figures of all workers together, or those of this process where it has no others."""

from __future__ import annotations

from pkgcache.engine.runtime.seat import seat
from pkgcache.engine.runtime.siblings import Siblings
from pkgcache.engine.runtime.sum_of_all import NOTHING, Everyone, Report, alone, snapshot
from pkgcache.engine.service import Service


class AllWorkers:
    """Asks the other workers, and tells them of this one's service, which is open."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._seat = seat()
        self._siblings = Siblings(self._seat, self._report, service.metrics) if self._seat else None
        if self._siblings is not None:
            service.tasks.start(self._siblings.serve(), "telling the other workers")

    async def everyone(self) -> Everyone:
        """Return what there is to tell of all."""
        return await self._siblings.everyone() if self._siblings else alone(self._report(), self._service.metrics)

    def _report(self) -> Report:
        service = self._service
        return Report(
            number=self._seat.number if self._seat else 1,
            started=service.started,
            snapshot=snapshot(service.metrics) if self._seat else NOTHING,
            fills=len(service.files.fills),
            problems=service.problems(),
            reasons=service.why_unready(),
            has_trouble=bool(service.health.problems),
        )
