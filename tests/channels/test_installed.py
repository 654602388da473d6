"""Which channel is used follows from settings alone; what is missing is named, and then nothing is taken."""

import base64
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from oracle_lib.errors import Permanent
from oracle_lib.execute import approvals, executor
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.channels import installed
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, users
from tests.providers import product, resend
from tests.providers.resend import ResendProvider
from tests.providers.wire import serving

SECRET = "s3cret-" + "x" * 20
WAY_OUT = {"public_url": "https://oracle.academy.example", "postal_address": "1 Main Street, Springfield"}
EMAIL = {"email_address": "hello@academy.example", **WAY_OUT}
RESEND = {"email_channel": "resend", "resend_api_key": resend.KEY, **EMAIL}
WEBHOOK = {"dm_channel": "webhook", "webhook_url": "https://academy.example/hook", "webhook_secret": product.SECRET}


def test_without_settings_everything_goes_to_the_outbox(store: Store) -> None:
    with installed.opened(store, Settings()) as channels:
        assert {channel.name for channel in channels.values()} == {"outbox"}
        assert set(channels) == {"email", "dm", "push", "post", "alert"}


def test_each_action_type_has_the_channel_that_was_chosen_and_types_share_one(store: Store) -> None:
    chosen = Settings(
        **RESEND,
        **WEBHOOK,
        push_channel="webpush",
        post_channel="webhook",
        alert_channel="slack",
        slack_webhook_url="https://hooks.slack.com/services/T/B/x",
    )
    with installed.opened(store, chosen) as channels:
        names = {action_type: channel.name for action_type, channel in channels.items()}
        assert channels["dm"] is channels["post"]
    assert names == {"email": "resend", "dm": "webhook", "push": "webpush", "post": "webhook", "alert": "slack"}


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({**RESEND, "resend_api_key": None}, "ORACLE_RESEND_API_KEY is not set."),
        ({**RESEND, "resend_api_key": "re_\nx"}, "ORACLE_RESEND_API_KEY holds characters that no key has."),
        ({**RESEND, "resend_url": "http://x.example"}, "ORACLE_RESEND_URL: It must begin with https://"),
        ({**RESEND, "email_address": "a@b.co, c@d.co"}, "ORACLE_EMAIL_ADDRESS must be the one address"),
        ({**RESEND, "postal_address": " "}, "ORACLE_POSTAL_ADDRESS is not set"),
        ({**RESEND, "secret": SECRET}, "ORACLE_SECRET must have 32 characters or more"),
        ({**RESEND, "public_url": ""}, "ORACLE_PUBLIC_URL is not set"),
        ({**RESEND, "public_url": "http://oracle.academy.example"}, "ORACLE_PUBLIC_URL must be https://"),
        ({**RESEND, "public_url": "https://x.example/?a=1"}, "ORACLE_PUBLIC_URL must be https://"),
        ({"email_channel": "sendgrid", **EMAIL}, "ORACLE_SENDGRID_API_KEY is not set."),
        ({"email_channel": "smtp", **EMAIL}, "ORACLE_SMTP_HOST is not set."),
        (
            {"email_channel": "smtp", **EMAIL, "smtp_host": "mail", "smtp_user": "ada"},
            "ORACLE_SMTP_PASSWORD is not set.",
        ),
        ({**WEBHOOK, "webhook_url": ""}, "ORACLE_WEBHOOK_URL: "),
        ({**WEBHOOK, "webhook_secret": "whsec_"}, "ORACLE_WEBHOOK_SECRET must be whsec_"),
        ({**WEBHOOK, "webhook_secret": SECRET}, "ORACLE_WEBHOOK_SECRET must be whsec_"),
        ({"push_channel": "webpush"}, "ORACLE_VAPID_SUBJECT is not set"),
        ({"push_channel": "webpush", "vapid_private_key": SECRET}, "ORACLE_VAPID_PRIVATE_KEY must be"),
        ({"alert_channel": "slack"}, "ORACLE_SLACK_WEBHOOK_URL is not set."),
    ],
)
def test_what_is_missing_or_wrong_is_said_by_name_and_without_the_secret(
    values: dict[str, str | None], fault: str
) -> None:
    [found] = installed.faults(Settings(**values))  # type: ignore[arg-type]
    assert found.startswith(fault)
    assert SECRET not in found


def test_a_password_is_not_sent_in_the_clear() -> None:
    server = {"email_channel": "smtp", **EMAIL, "smtp_host": "mail", "smtp_security": "none"}
    login = {"smtp_user": "ada", "smtp_password": SECRET}
    assert installed.faults(Settings(**server)) == []  # type: ignore[arg-type]
    assert "in the clear" in installed.faults(Settings(**server, **login))[0]  # type: ignore[arg-type]


def test_secrets_are_not_shown_with_the_settings() -> None:
    names = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    assert {"resend_api_key", "smtp_password", "webhook_secret", "secret", "vapid_private_key"} <= set(names)
    secret = "whsec_" + base64.b64encode(SECRET.encode()).decode()
    assert secret not in repr(Settings(**dict.fromkeys(names, secret)))  # type: ignore[arg-type]


def approved_email(store: Store, now: datetime, *, email: str | None) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(users).values(id="u1", email=email))
        made = approvals.create(conn, Draft("u1", "email", "Hi Ada", subject="Hello"), actor="anna", now=now)
        approvals.approve(conn, made.id, actor="bea", now=now)


def test_while_a_setting_is_missing_nothing_is_taken(store: Store, now: datetime) -> None:
    approved_email(store, now, email="ada@example.org")
    with pytest.raises(Permanent, match=r"ORACLE_RESEND_API_KEY is not set\. What is approved waits"):
        executor.run_due(store, settings=Settings(**{**RESEND, "resend_api_key": None}), owner="me")
    with store.transaction() as conn:
        assert conn.execute(sa.select(actions.c.status, actions.c.attempts)).one() == ("approved", 0)


@pytest.mark.parametrize(
    ("email", "stands"), [("ada@example.org", ("executed", "resend", None)), (None, ("failed", "resend", "no_address"))]
)
def test_an_approved_email_leaves_by_the_chosen_provider(
    store: Store, now: datetime, email: str | None, stands: tuple[str, str, str | None]
) -> None:
    approved_email(store, now, email=email)
    with serving(ResendProvider()) as provider:
        settings = Settings(**RESEND, resend_url=provider.url, internal_endpoints=True)
        executor.run_due(store, settings=settings, owner="me")
    with store.transaction() as conn:
        assert conn.execute(sa.select(actions.c.status, actions.c.channel, actions.c.reason)).one() == stands
    assert len(provider.requests) == (1 if email else 0)


def test_the_executor_loads_no_provider_before_it_is_used() -> None:
    root = Path(__file__).resolve().parents[2]
    code = "import sys, oracle_lib.execute.executor; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    providers = {"httpcore", "smtplib", "standardwebhooks", "cryptography", "http_ece", "py_vapid"}
    assert providers & set(ended.stdout.split()) == set()
