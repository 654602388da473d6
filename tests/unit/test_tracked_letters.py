"""Tracked links: signed, to allowed hosts only, and to nothing that a browser would read as another host."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from oracle_lib.execute import tracked_letters
from oracle_lib.execute.channels import Tracking, letter
from oracle_lib.execute.channels.letter import Letter, compose
from oracle_lib.execute.tracked_letters import Named
from oracle_lib.settings import Settings
from tests.channels.conftest import HTML, SENDER, TEXT, UNSUBSCRIBE, message

KEY = b"k" * 32
SETTINGS = Settings(tracked_hosts="academy.example, *.learn.example")


@pytest.mark.parametrize(
    "url",
    [
        "https://academy.example",
        "http://academy.example/",
        "https://ACADEMY.example/a?b=c#d",
        "https://academy.example?next=https://evil.example",
        "https://a.b.learn.example/x\\y",
    ],
)
def test_an_allowed_host_is_led_to(url: str) -> None:
    assert tracked_letters.leads_out(url, SETTINGS)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/academy.example",
        "https://academy.example.evil.example",
        "https://notacademy.example",
        "https://www.academy.example",
        "https://learn.example",
        "https://evillearn.example",
        "https://academy.example@evil.example",
        "https://evil.example@academy.example",
        "https://evil.example\\@academy.example",
        "https://evil.example\\.learn.example",
        "https://evil.example#.learn.example",
        "https://evil.example?.learn.example",
        "https://academy.example:8443/",
        "https://academy.example.",
        "https://academy.example/ü",
        "https://\u0430cademy.example",
        "https://academy.example/\r\nSet-Cookie: a=b",
        "https:academy.example",
        "https:///academy.example",
        "//academy.example",
        "javascript:alert(1)//academy.example",
        "ftp://academy.example",
        "",
    ],
)
def test_nothing_else_is(url: str) -> None:
    assert not tracked_letters.leads_out(url, SETTINGS)


def test_without_a_list_no_link_is_tracked() -> None:
    assert not tracked_letters.leads_out("https://academy.example", Settings())


@pytest.mark.parametrize("hosts", ["*", "*.example", "https://academy.example", "academy.example/", "a b.example", "."])
def test_a_list_that_would_open_the_door_is_refused(hosts: str) -> None:
    with pytest.raises(ValidationError, match="tracked_hosts"):
        Settings(tracked_hosts=hosts)


@given(st.uuids(), st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_a_token_names_what_was_signed_and_only_with_its_key(action_id: UUID, target: str | None) -> None:
    named = Named(action_id, target)
    token = tracked_letters.token(KEY, named)
    assert tracked_letters.read(KEY, token) == named
    assert tracked_letters.read(b"x" * 32, token) is None


@given(st.text())
def test_no_other_text_is_a_token(text: str) -> None:
    assert tracked_letters.read(KEY, text) is None


def test_the_html_carries_what_tracks_it_and_all_else_is_as_it_was() -> None:
    plain = compose(message(unsubscribe=UNSUBSCRIBE), SENDER)
    link, picture = "https://oracle.academy.example/t/abc", "https://oracle.academy.example/t/xyz"
    [target] = letter.links(TEXT)
    tracking = Tracking(picture, {target: link})
    made = compose(message(unsubscribe=UNSUBSCRIBE, tracking=tracking), SENDER)
    assert isinstance(plain, Letter)
    assert isinstance(made, Letter)
    assert (made.text, made.headers, made.subject) == (plain.text, plain.headers, plain.subject)
    assert 'href="https://academy.example/next?a=1&amp;b=2"' in HTML
    expected = plain.html.replace('href="https://academy.example/next?a=1&amp;b=2"', f'href="{link}"')
    assert made.html == expected.replace("</body>", f'<img src="{picture}" width="1" height="1" alt=""></body>')
