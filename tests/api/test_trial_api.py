"""A test message goes by the channel as it is set up and says in words what came of it; nothing else remembers it."""

from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from oracle_lib import clock
from oracle_lib.cli import edge
from oracle_lib.cli.commands import app
from oracle_lib.cli.doctor import examine
from oracle_lib.execute import stops
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, audit_log, messages
from tests.providers import resend
from tests.providers.resend import ResendProvider
from tests.providers.wire import Lost, Mishap, Says, serving

TEST = "/api/oracle/channels/email/test"
TO = {"to": "you@academy.example"}


@pytest.fixture
def provider() -> Iterator[ResendProvider]:
    with serving(ResendProvider()) as made:
        yield made


@pytest.fixture
def settings(database_url: str, provider: ResendProvider) -> Settings:
    return Settings(
        database_url=database_url,
        environment="test",
        email_channel="resend",
        resend_api_key=resend.KEY,  # type: ignore[arg-type]
        resend_url=provider.url,
        internal_endpoints=True,
        email_address="hello@academy.example",
        public_url="https://oracle.academy.example",
        postal_address="1 Main Street, Springfield",
    )


def audit(store: Store) -> list[tuple[str, str]]:
    with store.transaction() as conn:
        return [(row.verb, row.subject) for row in conn.execute(sa.select(audit_log).order_by(audit_log.c.id))]


def test_the_test_arrives_marked_as_one_and_belongs_to_no_action(
    client: httpx.Client, store: Store, provider: ResendProvider
) -> None:
    answer = client.post(TEST, json=TO)
    assert answer.status_code == 200
    assert (answer.json()["channel"], answer.json()["delivered"]) == ("resend", True)
    assert answer.json()["said"].startswith("Taken, under the id ")
    [request] = provider.requests
    assert b"[Test]" in request.body
    assert b"you@academy.example" in request.body
    with store.transaction() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(actions)) == 0
        said = str(conn.execute(sa.select(audit_log.c.detail)).all())
    assert audit(store) == [("channel.tested", "channel:email"), ("channel.answered", "channel:email")]
    assert "you@academy.example" not in said


@pytest.mark.parametrize(
    ("mishap", "words"),
    [
        (Says(401, b'{"message": "bad key"}'), "The channel needs mending: "),
        (Says(422, b'{"message": "no domain"}'), "Refused: "),
        (Says(429), "Refused for now: "),
        (Lost(), "No answer, so it may have arrived: "),
    ],
)
def test_what_the_provider_says_is_passed_on_in_words(
    client: httpx.Client, provider: ResendProvider, mishap: Mishap, words: str
) -> None:
    provider.mishaps = [mishap]
    told = client.post(TEST, json=TO).json()
    assert told["delivered"] is False
    assert told["said"].startswith(words)


def test_the_eleventh_within_an_hour_waits_and_another_channel_does_not(
    client: httpx.Client, provider: ResendProvider
) -> None:
    answers = [client.post(TEST, json=TO) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert 3500 < int(answers[-1].headers["retry-after"]) <= 3600
    assert len(provider.requests) == 10
    assert client.post("/api/oracle/channels/alert/test", json={}).status_code == 200


@pytest.mark.parametrize(
    ("action_type", "body", "field"),
    [
        ("email", {}, "to"),
        ("email", {"to": "a@b.example, c@d.example"}, "to"),
        ("email", {"to": "a@b.example\r\nBcc: c@d.example"}, "to"),
        ("push", {}, "to"),
        ("alert", {"to": "anna"}, "to"),
        ("pigeon", {}, "type"),
    ],
)
def test_a_test_that_cannot_be_meant_is_refused_and_not_counted(
    client: httpx.Client, store: Store, action_type: str, body: dict[str, str], field: str
) -> None:
    answer = client.post(f"/api/oracle/channels/{action_type}/test", json=body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
    assert audit(store) == []


def test_without_a_channel_the_answer_says_that_nobody_was_written_to(client: httpx.Client, store: Store) -> None:
    told = client.post("/api/oracle/channels/dm/test", json={"to": "u1"}).json()
    assert (told["channel"], "nobody was written to" in told["said"]) == ("outbox", True)
    with store.transaction() as conn:
        assert conn.scalar(sa.select(messages.c.subject)) == "[Test] ORACLE can reach you"


def test_it_goes_out_while_sending_is_stopped(client: httpx.Client, store: Store) -> None:
    with store.transaction() as conn:
        stops.stop(conn, "all", reason="a wrong price", actor="anna", now=clock.now())
    assert client.post(TEST, json=TO).json()["delivered"] is True


def test_the_command_says_the_same_and_fails_when_it_was_not_taken(
    store: Store, settings: Settings, provider: ResendProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "settings", lambda: settings)
    taken = CliRunner().invoke(app, ["send-test", "email", "you@academy.example"])
    assert (taken.exit_code, taken.output[:13]) == (0, "resend: Taken"), (taken.output, taken.exception)
    provider.mishaps = [Says(401)]
    refused = CliRunner().invoke(app, ["send-test", "email", "you@academy.example"])
    assert (refused.exit_code, "needs mending" in refused.output) == (1, True)


def test_the_doctor_says_of_each_channel_whether_it_is_set_up(settings: Settings) -> None:
    wrong = settings.model_copy(update={"push_channel": "webpush", "email_address": "", "dm_channel": "inbox"})
    found = {one.subject: (one.well, one.detail) for one in examine(wrong, clock.now()) if "Channel" in one.subject}
    assert set(found) == {f"Channel for {name}" for name in ("email", "dm", "push", "post", "alert")}
    assert found["Channel for email"] == (
        False,
        "resend: ORACLE_EMAIL_ADDRESS must be the one address that e-mail comes from.",
    )
    assert found["Channel for push"][1].startswith("webpush: ORACLE_VAPID_SUBJECT is not set")
    assert found["Channel for dm"] == (True, "inbox is set up; `oracle send-test dm` tries it")
    assert found["Channel for post"] == (True, "outbox: messages are kept and nobody is written to")
