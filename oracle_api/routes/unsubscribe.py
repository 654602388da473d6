"""The page behind the link of every marketing e-mail. Public: the signed token is its own key, and shows nobody's data.

GET and HEAD only show, because programs that look for harm follow links in e-mails; POST acts, whoever sends it and as
often as they do, without session, cookie or redirect (RFC 8058). It speaks the user's language, where it has it. Test:
`tests/guarantees/test_g8_unsubscribe.py`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Header
from fastapi.responses import HTMLResponse

from oracle_api.deps import Body, Config, Conn, Now
from oracle_api.html import pages
from oracle_lib.errors import NotFound
from oracle_lib.execute import unsubscribe, unsubscribe_links
from oracle_lib.execute.unsubscribe import Preferences, Recipient, Standing, Wish
from oracle_lib.execute.unsubscribe_words import Saying, Words, words_for

router = APIRouter(prefix="/unsubscribe", include_in_schema=False)
_pages = pages(Path(__file__).parents[1] / "templates")


@dataclass(frozen=True)
class Button:
    """What may be wished for: the value of the form's `wish`, and its words."""

    wish: str
    text: str


@dataclass(frozen=True)
class Page:
    """What the page says, and which buttons it has."""

    language: str
    title: str
    sentences: tuple[str, ...]
    buttons: tuple[Button, ...] = ()


def recipient(token: str, conn: Conn, settings: Config) -> Recipient | None:
    """Return whom a token means; None for one that is altered or means nobody."""
    action_id = unsubscribe_links.action_of(unsubscribe_links.key(conn, settings), token)
    try:
        return None if action_id is None else unsubscribe.recipient(conn, action_id)
    except NotFound:
        return None


Meant = Annotated[Recipient | None, Depends(recipient)]


def spoken(who: Meant, accept_language: Annotated[str, Header()] = "") -> Words:
    """Return the words that whoever is meant reads best."""
    return words_for(who.locale if who else None, accept_language)


Spoken = Annotated[Words, Depends(spoken)]


@router.api_route("/{token}", methods=["GET", "HEAD"])
def show(who: Meant, words: Spoken, conn: Conn, now: Now) -> HTMLResponse:
    """Show what holds, and ask. Changes nothing."""
    return _unknown(words) if who is None else _holding(who, words, conn, now, words.asks)


@router.post("/{token}")
def ask(who: Meant, words: Spoken, conn: Conn, now: Now, body: Body) -> HTMLResponse:
    """Do what is wished for: less, a pause, or all again, where the form says so; otherwise no more at all."""
    if who is None:
        return _unknown(words)
    match parse_qs(body.decode("utf-8", "replace")).get("wish"):
        case ["resume"]:
            unsubscribe.want_again(conn, who, now)
        case ["topic"] if who.topic is not None:
            unsubscribe.refuse_topic(conn, who, who.topic, now)
        case ["fewer"]:
            unsubscribe.want_fewer(conn, who, now)
        case ["pause"]:
            unsubscribe.ask(conn, who, Wish.PAUSE, now)
        case _:
            unsubscribe.ask(conn, who, Wish.NO_MORE, now)
    return _holding(who, words, conn, now, words.again)


def _holding(who: Recipient, words: Words, conn: Conn, now: Now, where_nothing: Saying) -> HTMLResponse:
    """Say what holds for the recipient, `where_nothing` if nothing does."""
    standing = unsubscribe.standing(conn, who, now)
    if standing is not None:
        return _page(_stopped(standing, words))
    return _page(_less(who, unsubscribe.preferences(conn, who), words, where_nothing))


def _stopped(standing: Standing, words: Words) -> Page:
    resume = [Button("resume", words.resume)] if standing.theirs else []
    if standing.until is None:
        return Page(words.language, words.stopped.title, (words.stopped.text,), tuple(resume))
    sentence = words.paused.text.format(until=words.day(standing.until))
    return Page(words.language, words.paused.title, (sentence,), (Button("stop", words.stop), *resume))


def _less(who: Recipient, wanted: Preferences, words: Words, where_nothing: Saying) -> Page:
    named = {"topic": who.topic}
    about_it = who.topic in wanted.refused_topics
    said = [words.no_topic] if about_it else []
    said += [words.fewer] if wanted.fewer else []
    said = said or [where_nothing]
    buttons = [Button("stop", words.stop)]
    if who.topic is not None and not about_it:
        buttons.append(Button("topic", words.refuse_topic.format(**named)))
    if not wanted.fewer:
        buttons.append(Button("fewer", words.want_fewer))
    buttons.append(Button("pause", words.pause))
    if wanted.fewer or wanted.refused_topics:
        buttons.append(Button("resume", words.resume))
    sentences = tuple(one.text.format(**named) for one in said)
    return Page(words.language, said[0].title.format(**named), sentences, tuple(buttons))


def _unknown(words: Words) -> HTMLResponse:
    return _page(Page(words.language, words.unknown.title, (words.unknown.text,)), status=404)


def _page(page: Page, status: int = 200) -> HTMLResponse:
    return HTMLResponse(_pages.get_template("unsubscribe.html").render(page=page), status_code=status)
