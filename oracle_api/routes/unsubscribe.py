"""The page behind the link of every marketing e-mail. Public: the signed token is its own key, and shows nobody's data.

GET and HEAD only show, because programs that look for harm follow links in e-mails; POST acts, whoever sends it and as
often as they do, without session, cookie or redirect (RFC 8058). Test: `tests/guarantees/test_g8_unsubscribe.py`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse

from oracle_api.deps import Body, Config, Conn, Now
from oracle_api.html import pages
from oracle_lib.errors import NotFound
from oracle_lib.execute import unsubscribe, unsubscribe_links
from oracle_lib.execute.unsubscribe import Recipient, Standing, Wish

router = APIRouter(prefix="/unsubscribe", include_in_schema=False)
_pages = pages(Path(__file__).parents[1] / "templates")


@dataclass(frozen=True)
class Page:
    """What the page says, and which buttons it has."""

    title: str
    text: str
    can_stop: bool = False
    can_pause: bool = False
    can_resume: bool = False


_ASKS = Page(
    "Do you want no more of these e-mails?",
    "Messages that your account needs, such as receipts, still reach you either way.",
    can_stop=True,
    can_pause=True,
)
_STOPPED = "You will get no more of these e-mails. Messages that your account needs still reach you."
_AGAIN = Page("You get these e-mails again", "You can change your mind at any time.", can_stop=True, can_pause=True)
_UNKNOWN = Page("This link is not valid", "Open the link in the e-mail again, or copy all of it.")


def recipient(token: str, conn: Conn, settings: Config) -> Recipient | None:
    """Return whom a token means; None for one that is altered or means nobody."""
    action_id = unsubscribe_links.action_of(unsubscribe_links.key(conn, settings), token)
    try:
        return None if action_id is None else unsubscribe.recipient(conn, action_id)
    except NotFound:
        return None


Meant = Annotated[Recipient | None, Depends(recipient)]


@router.api_route("/{token}", methods=["GET", "HEAD"])
def show(who: Meant, conn: Conn, now: Now) -> HTMLResponse:
    """Show what holds, and ask. Changes nothing."""
    return _unknown() if who is None else _page(_said(unsubscribe.standing(conn, who, now)))


@router.post("/{token}")
def ask(who: Meant, conn: Conn, now: Now, body: Body) -> HTMLResponse:
    """Do what is wished for: a pause, or to get them again, where the form says so; otherwise no more at all."""
    if who is None:
        return _unknown()
    match parse_qs(body.decode("utf-8", "replace")).get("wish"):
        case ["resume"]:
            standing = unsubscribe.want_again(conn, who, now)
            return _page(_AGAIN if standing is None else _said(standing))
        case ["pause"]:
            return _page(_said(unsubscribe.ask(conn, who, Wish.PAUSE, now)))
        case _:
            return _page(_said(unsubscribe.ask(conn, who, Wish.NO_MORE, now)))


def _said(standing: Standing | None) -> Page:
    if standing is None:
        return _ASKS
    if standing.until is None:
        return Page("You are unsubscribed", _STOPPED, can_resume=standing.theirs)
    until = f"{standing.until.day} {standing.until:%B %Y}"
    return Page(
        "You have paused these e-mails", f"You will get none before {until}.", can_stop=True, can_resume=standing.theirs
    )


def _unknown() -> HTMLResponse:
    return _page(_UNKNOWN, status=404)


def _page(page: Page, status: int = 200) -> HTMLResponse:
    return HTMLResponse(_pages.get_template("unsubscribe.html").render(page=page), status_code=status)
