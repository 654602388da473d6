"""Where answers go: an address that names its action, that nobody else can make and every mail program can write."""

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle_lib.execute.channels import resend, sendgrid
from oracle_lib.execute.channels.letter import Letter, compose, mime, plain_address
from oracle_lib.execute.reply_addresses import ReplyAddresses
from tests.channels.conftest import ACTION, KEY, SENDER, message

ADDRESSES = ReplyAddresses("Reply", "inbound.academy.example", b"k" * 32)


@given(st.uuids())
def test_an_address_names_its_action_however_it_is_written(action_id: UUID) -> None:
    address = ADDRESSES.of(action_id)
    assert plain_address(address) == address
    for written in (address, address.lower(), address.upper(), f" {address} "):
        assert ADDRESSES.action_of(written) == action_id


def test_the_longest_mailbox_that_the_setting_allows_leaves_room_for_the_token() -> None:
    longest = replace(ADDRESSES, mailbox="m" * 18).of(uuid4())
    assert len(longest.partition("@")[0]) == 64


def test_no_letter_of_it_can_be_changed() -> None:
    address = ADDRESSES.of(ACTION)
    start, end = address.index("+") + 1, address.index("@")
    for place in range(start, end):
        other = "a" if address[place] != "a" else "b"
        assert ADDRESSES.action_of(f"{address[:place]}{other}{address[place + 1 :]}") is None


@given(st.text(max_size=80))
def test_whatever_else_stands_there_names_nothing(text: str) -> None:
    assert ADDRESSES.action_of(text) is None
    assert ADDRESSES.action_of(f"reply+{text}@inbound.academy.example") is None


@pytest.mark.parametrize("replies", [None, ADDRESSES])
def test_every_provider_is_told_where_answers_go_if_they_go_elsewhere(replies: ReplyAddresses | None) -> None:
    letter = compose(message(), replace(SENDER, replies=replies))
    assert isinstance(letter, Letter)
    to = replies.of(ACTION) if replies else None
    raw = mime(letter, "<1@academy.example>", datetime(2026, 3, 4, tzinfo=UTC)).as_bytes()
    assert message_from_bytes(raw, policy=default)["Reply-To"] == to
    assert to is None or to.encode() in raw, "no encoded word"
    assert msgspec.json.decode(resend._body(letter, ACTION)).get("reply_to") == to
    named = {"email": to} if to else None
    assert msgspec.json.decode(sendgrid._body(letter, KEY)).get("reply_to") == named
