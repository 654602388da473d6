"""SMTP hands a letter in at most once by itself; every answer of the server means what it says."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from oracle_lib.execute.channels import Ambiguous, Answer, Broken, Delivered, Refused
from oracle_lib.execute.channels.smtp import Server, Smtp
from tests.channels.conftest import ACTION, HTML, KEY, SENDER, TEXT, UNSUBSCRIBE, message
from tests.providers.mail import Mailbox, certificate, serving


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with serving(Mailbox()) as made:
        yield made


@pytest.fixture
def channel(mailbox: Mailbox) -> Iterator[Smtp]:
    with closing(smtp(Server("127.0.0.1", mailbox.port, "none"))) as made:
        yield made


def smtp(server: Server, trusted: ssl.SSLContext | None = None) -> Smtp:
    return Smtp(server, SENDER, clock=lambda: datetime(2026, 3, 4, 12, 0, tzinfo=UTC), trusted=trusted)


def deliver(server: Server, trusted: ssl.SSLContext | None = None) -> Answer:
    with closing(smtp(server, trusted)) as channel:
        return channel.deliver(message(), KEY)


def test_the_letter_has_two_alternatives_and_one_recipient(channel: Smtp, mailbox: Mailbox) -> None:
    assert channel.deliver(message(), KEY) == Delivered(f"<{ACTION}@academy.example>")
    [letter] = mailbox.letters
    assert mailbox.recipients == [["ada@example.org"]]
    headers = {name: letter[name] for name in ("From", "To", "Subject", "Date", "Message-ID")}
    assert headers == {
        "From": "Ada's academy <hello@academy.example>",
        "To": "ada@example.org",
        "Subject": "Welcome back",
        "Date": "Wed, 04 Mar 2026 12:00:00 +0000",
        "Message-ID": f"<{ACTION}@academy.example>",
    }
    assert letter.get_content_type() == "multipart/alternative"
    text, html = letter.get_body(("plain",)), letter.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().replace("\r\n", "\n") == TEXT + "\n"
    assert html.get_content().replace("\r\n", "\n") == HTML + "\n"


def test_marketing_carries_its_way_out_as_the_server_gets_it(channel: Smtp, mailbox: Mailbox) -> None:
    channel.deliver(message(unsubscribe=UNSUBSCRIBE), KEY)
    [letter] = mailbox.letters
    assert letter["List-Unsubscribe"] == f"<{UNSUBSCRIBE}>"
    assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_words_of_other_languages_and_lines_with_a_dot_arrive_as_they_were(channel: Smtp, mailbox: Mailbox) -> None:
    words = ".\n..\nGrüße, 你好\n." + "x" * 2000
    assert isinstance(channel.deliver(message(text=words, subject="Grüße 你好"), KEY), Delivered)
    [letter] = mailbox.letters
    text = letter.get_body(("plain",))
    assert text is not None
    assert text.get_content().replace("\r\n", "\n") == words + "\n"
    assert letter["Subject"] == "Grüße 你好"


def test_letters_share_a_connection_and_a_new_one_is_made_when_it_is_gone(channel: Smtp, mailbox: Mailbox) -> None:
    for _ in range(3):
        assert isinstance(channel.deliver(message(), KEY), Delivered)
    assert len(mailbox.sessions) == 1
    channel.close()
    assert isinstance(channel.deliver(message(), KEY), Delivered)
    assert len(mailbox.letters) == 4


@pytest.mark.parametrize("step", ["RCPT", "DATA"])
def test_a_temporary_no_is_tried_again_and_a_final_one_is_not(channel: Smtp, mailbox: Mailbox, step: str) -> None:
    mailbox.refuses = {step: "451 later"}
    first = channel.deliver(message(), KEY)
    mailbox.refuses = {step: "550 never"}
    second = channel.deliver(message(), KEY)
    mailbox.refuses = {}
    assert isinstance(channel.deliver(message(), KEY), Delivered)
    assert isinstance(first, Refused)
    assert isinstance(second, Refused)
    assert (first.permanent, second.permanent) == (False, True)
    assert len(mailbox.letters) == 1


def test_a_no_to_the_sender_is_about_us_and_not_about_the_letter(channel: Smtp, mailbox: Mailbox) -> None:
    mailbox.refuses = {"MAIL": "451 later"}
    assert channel.deliver(message(), KEY) == Refused("451 to MAIL: later", permanent=False)
    mailbox.refuses = {"MAIL": "550 5.7.1 not your domain"}
    assert channel.deliver(message(), KEY) == Broken("550 to MAIL: 5.7.1 not your domain")


def test_a_connection_that_breaks_after_the_letter_leaves_it_in_doubt(channel: Smtp, mailbox: Mailbox) -> None:
    mailbox.vanishes = True
    assert channel.deliver(message(), KEY) == Ambiguous("no answer to the letter: SMTPServerDisconnected")
    assert len(mailbox.letters) == 1
    assert not channel.idempotent


def test_without_a_server_nothing_was_sent() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        answer = deliver(Server("127.0.0.1", closed.getsockname()[1], "none"))
    assert answer == Refused("no connection: ConnectionRefusedError", permanent=False)


@pytest.mark.usefixtures("short_time")
def test_a_server_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oracle_lib.execute.channels.smtp.CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answer = deliver(Server("127.0.0.1", silent.getsockname()[1], "none"))
    assert answer == Refused("no connection: SMTPServerDisconnected", permanent=False)


@pytest.mark.usefixtures("short_time")
def test_silence_after_the_letter_leaves_it_in_doubt() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        thread = threading.Thread(target=_takes_a_letter_and_says_nothing, args=(silent,))
        thread.start()
        answer = deliver(Server("127.0.0.1", silent.getsockname()[1], "none"))
        thread.join()
    assert answer == Ambiguous("no answer to the letter: SMTPServerDisconnected")


def _takes_a_letter_and_says_nothing(listening: socket.socket) -> None:
    accepted, _ = listening.accept()
    with accepted, accepted.makefile("rb") as lines:
        accepted.sendall(b"220 ready\r\n")
        for line in lines:
            if line.upper().startswith(b"DATA"):
                accepted.sendall(b"354 go\r\n")
            elif line.upper().startswith((b"EHLO", b"MAIL", b"RCPT")):
                accepted.sendall(b"250 OK\r\n")


def test_a_password_goes_only_through_tls_and_a_wrong_one_breaks_the_channel() -> None:
    ours, trusting = certificate()
    with serving(Mailbox(), ours, login=True) as mailbox:
        right = Server("127.0.0.1", mailbox.port, "starttls", "ada", "right")
        assert isinstance(deliver(right, trusting), Delivered)
        wrong = deliver(Server("127.0.0.1", mailbox.port, "starttls", "ada", "wrong"), trusting)
        stranger = deliver(right)
        nobody = deliver(Server("127.0.0.1", mailbox.port, "starttls"), trusting)
    assert isinstance(wrong, Broken)
    assert wrong.reason.startswith("535 to login")
    assert isinstance(stranger, Broken)
    assert "certificate" in stranger.reason
    assert isinstance(nobody, Broken)
    assert len(mailbox.letters) == 1


def test_a_server_that_speaks_tls_from_the_start_is_spoken_to_so() -> None:
    ours, trusting = certificate()
    with serving(Mailbox(), ours, at_once=True) as mailbox:
        server = Server("127.0.0.1", mailbox.port, "tls")
        assert isinstance(deliver(server, trusting), Delivered)
        assert isinstance(deliver(server), Broken)
    assert len(mailbox.letters) == 1


def test_a_server_without_tls_breaks_a_channel_that_asks_for_it(mailbox: Mailbox) -> None:
    assert isinstance(deliver(Server("127.0.0.1", mailbox.port, "starttls")), Broken)
    assert mailbox.letters == []


def test_a_recipient_that_is_a_header_is_not_even_tried(channel: Smtp, mailbox: Mailbox) -> None:
    answer = channel.deliver(message(to="ada@example.org\r\nBcc: eve@example.org"), KEY)
    assert answer == Refused("bad_address", permanent=True)
    channel.deliver(message(subject="Hi\r\nBcc: eve@example.org\r\n\r\nEve was here"), KEY)
    [letter] = mailbox.letters
    assert letter["Bcc"] is None
    assert mailbox.recipients == [["ada@example.org"]]
