"""The first page: counts and nothing personal.

It is open only to this machine itself: the API listens on loopback and was called by a loopback name, so nothing that
forwards requests from elsewhere opens it. Everybody else shows a key with the scope `admin`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, HTMLResponse

from oracle_api.auth import presented
from oracle_api.deps import Config, Conn, Now
from oracle_api.html import pages
from oracle_api.panel import report
from oracle_lib import access
from oracle_lib.access import Presented
from oracle_lib.errors import Forbidden, NotFound
from oracle_lib.settings import LOOPBACK
from oracle_lib.tell import ceo_report, overview

router = APIRouter(prefix="/admin/oracle", include_in_schema=False)
_HERE = Path(__file__).parent
_STATIC = {"panel.css": "text/css", "unsubscribe.css": "text/css", "icon.svg": "image/svg+xml"}
_LEVELS = ("active", "moderate", "dormant", "lost", "new")
_STATUSES = ("pending", "approved", "executing", "executed", "failed", "unknown", "rejected", "expired")
_pages = pages(_HERE / "templates")


@dataclass(frozen=True)
class Bar:
    """One line of a chart: a word, how many, and the share of the longest line in percent."""

    name: str
    count: int
    width: int


async def visitor(request: Request, settings: Config) -> Presented | None:
    """Return the key that was shown; None for a visitor on this machine, who needs none. Raises `Unknown`."""
    if settings.on_loopback and request.url.hostname in LOOPBACK:
        return None
    return await presented(request)


def let_in(key: Annotated[Presented | None, Depends(visitor)], conn: Conn, now: Now) -> None:
    """Refuse who is neither on this machine nor an admin. Raises `Unknown` or `Forbidden`."""
    if key is not None and not access.verify(conn, key, now).may(access.ADMIN):
        raise Forbidden("This key lacks the scope admin.")


@router.get("", dependencies=[Depends(let_in)], response_class=HTMLResponse)
def first_page(conn: Conn, now: Now, settings: Config) -> str:
    """Show how many users, actions and events there are, and where to look next."""
    seen = overview.look(conn, now)
    return _pages.get_template("overview.html").render(
        seen=seen,
        levels=_bars(seen.users_by_level, _LEVELS),
        statuses=_bars(seen.actions_by_status, _STATUSES),
        dagster=f"http://{settings.dagster_host}:{settings.dagster_port}",
    )


@router.get("/ceo-report", dependencies=[Depends(let_in)], response_class=HTMLResponse)
def report_page(conn: Conn) -> str:
    """Show the newest report as it was kept."""
    return _pages.get_template("report.html").render(report=report.shaped(ceo_report.get(conn)))


@router.get("/static/{name}")
async def static(name: str) -> FileResponse:
    """Return one of the panel's own files. Public: there is nothing in them."""
    if name not in _STATIC:
        raise NotFound(f"There is no file {name!r}.")
    headers = {"Cache-Control": "public, max-age=300"}
    return FileResponse(_HERE / "static" / name, media_type=_STATIC[name], headers=headers)


def _bars(counts: Mapping[str, int], names: tuple[str, ...]) -> list[Bar]:
    longest = max([*counts.values(), 1])
    return [Bar(name, counts.get(name, 0), round(100 * counts.get(name, 0) / longest)) for name in names]
