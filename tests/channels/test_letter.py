"""Nothing that somebody wrote can add a header or a recipient to a letter."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle_lib.execute.channels import Refused
from oracle_lib.execute.channels.letter import Letter, Sender, compose, mime, plain_address
from tests.channels.conftest import HTML, SENDER, TEXT, UNSUBSCRIBE, message
from tests.conftest import FULL

MOMENT = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
HOSTILE = st.text(st.sampled_from('\r\n\x00\t :,;<>"@aBcc: x\u2028\x85é'), max_size=40)
HEADERS = {"from", "to", "subject", "message-id", "date", "mime-version", "content-type"}


def letter(**fields: str | None) -> Letter:
    made = compose(message(**fields), SENDER)  # type: ignore[arg-type]
    assert isinstance(made, Letter)
    return made


def test_text_and_html_say_the_same() -> None:
    made = letter()
    assert (made.subject, made.text, made.html) == ("Welcome back", TEXT, HTML)


@pytest.mark.parametrize("markup", ["<script>alert(1)</script>", '<img src=x onerror="x">', "https://x.y/\"onclick='z"])
def test_html_holds_text_only_as_text(markup: str) -> None:
    html = letter(text=f"Hi {markup}").html
    assert "<script" not in html
    assert "<img" not in html
    assert "onclick='" not in html


def test_a_subject_is_one_line_of_at_most_255_characters() -> None:
    assert letter(subject="Hi\r\nBcc: eve@example.org\x00").subject == "Hi Bcc: eve@example.org"
    assert len(letter(subject="a" * 1000).subject) == 255
    assert letter(subject=None).subject == ""


@settings(max_examples=5000 if FULL else 200, deadline=None)
@given(HOSTILE, HOSTILE, HOSTILE)
def test_no_header_and_no_recipient_is_added(subject: str, name: str, text: str) -> None:
    made = compose(message(subject=subject, text=text), Sender(name, "hello@academy.example"))
    assert isinstance(made, Letter)
    read = message_from_bytes(mime(made, "<1@academy.example>", MOMENT).as_bytes(), policy=default)
    assert {header.lower() for header in read} == HEADERS
    assert [address.addr_spec for address in read["to"].addresses] == ["ada@example.org"]
    assert [address.addr_spec for address in read["from"].addresses] == ["hello@academy.example"]
    assert str(made.sender).count("\n") == str(made.sender).count("\r") == 0


@pytest.mark.parametrize(
    "text",
    [
        "ada@example.org\r\nBcc: eve@example.org",
        "ada@example.org,eve@example.org",
        "Ada <ada@example.org>",
        "ada@example",
        "ada@-example.org",
        "a..da@example.org",
        '"a b"@example.org',
        "ada@[127.0.0.1]",
        "ada@example.org>",
        f"{'a' * 250}@b.co",
    ],
)
def test_what_is_not_one_plain_address_is_refused(text: str) -> None:
    assert compose(message(to=text), SENDER) == Refused("bad_address", permanent=True)


@pytest.mark.parametrize("text", ["ada@example.org", "a.d+a_1-x@sub.example.co.uk", "o'neil@example.org"])
def test_plain_addresses_stay_as_they_are(text: str) -> None:
    assert plain_address(text) == text


def test_a_domain_in_other_letters_is_written_in_those_that_every_server_knows() -> None:
    assert plain_address("ada@bücher.example") == "ada@xn--bcher-kva.example"
    assert plain_address("ü@bücher.example") is None


def test_marketing_ends_with_the_postal_address_and_a_link_and_offers_one_click() -> None:
    made = letter(unsubscribe=UNSUBSCRIBE)
    footer = f"1 Main Street, Springfield\nUnsubscribe: {UNSUBSCRIBE}"
    assert made.text == f"{TEXT}\n\n{footer}"
    assert f'<a href="{UNSUBSCRIBE}">' in made.html
    assert made.headers == {
        "List-Unsubscribe": f"<{UNSUBSCRIBE}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    assert letter().headers == {}


def test_a_long_link_is_one_line_of_its_header_and_no_encoded_word() -> None:
    raw = mime(letter(unsubscribe=UNSUBSCRIBE), "<1@academy.example>", MOMENT).as_bytes()
    assert f"\r\nList-Unsubscribe: <{UNSUBSCRIBE}>\r\n".encode() in raw
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in raw


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        (None, "Unsubscribe"),
        ("en-GB", "Unsubscribe"),
        ("fr", "Unsubscribe"),
        ("de-AT", "Abmelden"),
        ("ES", "Cancelar la suscripción"),
    ],
)
def test_the_footer_speaks_the_recipients_language_where_the_page_to_unsubscribe_does(
    locale: str | None, words: str
) -> None:
    made = letter(unsubscribe=UNSUBSCRIBE, locale=locale)
    assert made.text.endswith(f"\n1 Main Street, Springfield\n{words}: {UNSUBSCRIBE}")
    assert f"Springfield<br>{words}: <a href=" in made.html
    raw = mime(made, "<1@academy.example>", MOMENT).as_bytes()
    assert f"\r\nList-Unsubscribe: <{UNSUBSCRIBE}>\r\n".encode() in raw
