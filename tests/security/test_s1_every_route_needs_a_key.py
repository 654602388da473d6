"""S1: closed by default. Every route stands in this matrix with the scope it takes; one that does not fails here."""

import re

import httpx
import pytest

from oracle_api import auth
from oracle_api.app import create_app
from oracle_api.routes import health
from oracle_lib import access
from oracle_lib.errors import Permanent
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from tests.api.conftest import MakeClient

NOBODY = "00000000-0000-7000-8000-000000000000"
OPEN = "no key"
MATRIX = {
    ("POST", "/api/oracle/events"): "events:write",
    ("POST", "/api/oracle/events/batch"): "events:write",
    ("GET", "/api/oracle/events"): "events:read",
    ("GET", "/api/oracle/events/tail"): "events:read",
    ("GET", "/api/oracle/rejected-events"): "events:write",
    ("GET", "/api/oracle/tracking-plan"): "events:read",
    ("PUT", "/api/oracle/tracking-plan/{event}"): "admin",
    ("DELETE", "/api/oracle/tracking-plan/{event}"): "admin",
    ("POST", "/v1/track"): "events:write",
    ("POST", "/v1/page"): "events:write",
    ("POST", "/v1/screen"): "events:write",
    ("POST", "/v1/batch"): "events:write",
    ("POST", "/v1/import"): "events:write",
    ("POST", "/v1/identify"): "users:write",
    ("POST", "/v1/group"): "users:write",
    ("POST", "/v1/alias"): "users:write",
    ("GET", "/api/oracle/push/key"): "users:read",
    ("POST", "/api/oracle/users/{user_id:path}/push-subscriptions"): "users:write",
    ("DELETE", "/api/oracle/users/{user_id:path}/push-subscriptions"): "users:write",
    ("GET", "/api/oracle/users/{user_id:path}/messages"): "users:read",
    ("POST", "/api/oracle/users/{user_id:path}/messages/{message_id}/read"): "users:write",
    ("GET", "/api/oracle/users/{user_id:path}/preferences"): "users:read",
    ("PUT", "/api/oracle/users/{user_id:path}/preferences"): "users:write",
    ("POST", "/api/oracle/channels/{action_type}/test"): "admin",
    ("PUT", "/api/oracle/users/{user_id:path}"): "users:write",
    ("GET", "/api/oracle/users/{user_id:path}"): "users:read",
    ("PUT", "/api/oracle/courses/{course_id:path}"): "users:write",
    ("GET", "/api/oracle/courses/{course_id:path}"): "users:read",
    ("GET", "/api/oracle/segments"): "users:read",
    ("GET", "/api/oracle/segments/counts"): "users:read",
    ("GET", "/api/oracle/segments/history"): "users:read",
    ("GET", "/api/oracle/segments/{user_id:path}/changes"): "users:read",
    ("GET", "/api/oracle/segments/{user_id:path}"): "users:read",
    ("GET", "/api/oracle/models"): "report:read",
    ("GET", "/api/oracle/models/{model_id}"): "report:read",
    ("GET", "/api/oracle/predictions/{user_id:path}"): "users:read",
    ("GET", "/api/oracle/actions"): "actions:read",
    ("POST", "/api/oracle/actions"): "actions:write",
    ("GET", "/api/oracle/actions/{action_id}"): "actions:read",
    ("GET", "/api/oracle/actions/{action_id}/lineage"): "actions:read",
    ("PATCH", "/api/oracle/actions/{action_id}"): "actions:approve",
    ("POST", "/api/oracle/actions/answers"): "actions:approve",
    ("POST", "/api/oracle/actions/{action_id}/settlement"): "actions:approve",
    ("POST", "/api/oracle/actions/settlements"): "actions:approve",
    ("GET", "/api/oracle/actions/{action_id}/versions"): "actions:read",
    ("GET", "/api/oracle/actions/{action_id}/preview"): "actions:read",
    ("GET", "/api/oracle/actions/groups"): "actions:read",
    ("GET", "/api/oracle/actions/selection"): "actions:read",
    ("POST", "/api/oracle/actions/selection/answer"): "actions:approve",
    ("POST", "/api/oracle/actions/group-edits"): "actions:approve",
    ("PUT", "/api/oracle/actions/{action_id}/words"): "actions:approve",
    ("POST", "/api/oracle/execute"): "actions:approve",
    ("GET", "/api/oracle/rules"): "rules:read",
    ("GET", "/api/oracle/rules/{rule_id}"): "rules:read",
    ("POST", "/api/oracle/rules"): "rules:write",
    ("PUT", "/api/oracle/rules/{rule_id}"): "rules:write",
    ("DELETE", "/api/oracle/rules/{rule_id}"): "rules:write",
    ("POST", "/api/oracle/rules/drafts"): "rules:write",
    ("PUT", "/api/oracle/rules/{rule_id}/draft"): "rules:write",
    ("DELETE", "/api/oracle/rules/{rule_id}/draft"): "rules:write",
    ("POST", "/api/oracle/rules/{rule_id}/publish"): "rules:write",
    ("GET", "/api/oracle/rules/{rule_id}/versions"): "rules:read",
    ("GET", "/api/oracle/rules/{rule_id}/versions/{version}"): "rules:read",
    ("GET", "/api/oracle/rules/{rule_id}/diff"): "rules:read",
    ("POST", "/api/oracle/rules/{rule_id}/rollback"): "rules:write",
    ("POST", "/api/oracle/rules/{rule_id}/pause"): "rules:write",
    ("POST", "/api/oracle/rules/{rule_id}/resume"): "rules:write",
    ("GET", "/api/oracle/rules/{rule_id}/stats"): "rules:read",
    ("POST", "/api/oracle/rules/reach"): "rules:read",
    ("GET", "/api/oracle/users/{user_id:path}/why-not"): "users:read",
    ("GET", "/api/oracle/users/{user_id:path}/next-best-action"): "users:read",
    ("GET", "/api/oracle/experiments"): "report:read",
    ("GET", "/api/oracle/experiments/{experiment_id}"): "report:read",
    ("GET", "/api/oracle/sending-stops"): "actions:read",
    ("PUT", "/api/oracle/sending-stops/{scope}"): "actions:approve",
    ("DELETE", "/api/oracle/sending-stops/{scope}"): "actions:approve",
    ("POST", "/api/oracle/rules/{rule_id}/dry-run"): "rules:write",
    ("GET", "/api/oracle/ceo-report"): "report:read",
    ("POST", "/api/oracle/ceo-report"): "admin",
    ("POST", "/api/oracle/run-requests"): "admin",
    ("GET", "/api/oracle/run-requests"): "admin",
    ("GET", "/api/oracle/run-requests/{request_id}"): "admin",
    ("GET", "/api/oracle/openapi.json"): "admin",
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    # The link is its own key: tests/guarantees/test_g8_unsubscribe.py.
    ("GET", "/unsubscribe/{token}"): OPEN,
    ("POST", "/unsubscribe/{token}"): OPEN,
    # The same: tests/api/test_tracked_letters_api.py.
    ("GET", "/t/{token}"): OPEN,
    ("GET", "/push/{name}"): OPEN,
    # Signed by the provider: tests/guarantees/test_g7_outcomes_are_counted_once.py. Here none is set up: 404.
    ("POST", "/api/oracle/webhooks/resend"): OPEN,
    ("POST", "/api/oracle/webhooks/sendgrid"): OPEN,
    ("POST", "/api/oracle/webhooks/sendgrid-inbound"): OPEN,
    # Open on the machine itself only: tests/panel/test_overview.py.
    ("GET", "/admin/oracle"): OPEN,
    ("GET", "/admin/oracle/ceo-report"): OPEN,
    ("GET", "/admin/oracle/static/{name}"): OPEN,
}


def ask(client: httpx.Client, method: str, path: str, headers: dict[str, str] | None = None) -> int:
    concrete = path.replace("{name}", "panel.css").replace("{version}", "1").replace(":path", "")
    concrete = re.sub(r"\{\w+\}", NOBODY, concrete)
    body = None if method == "GET" else {}
    # One of them has no end: only its status is read.
    with client.stream(method, concrete, json=body, headers=headers) as answer:
        return answer.status_code


def test_the_matrix_names_every_route_with_its_scope(store: Store, settings: Settings) -> None:
    found = {(method, path): scopes for method, path, scopes in auth.routes(create_app(store, settings))}
    assert {route: {scope} - {OPEN} for route, scope in MATRIX.items()} == {
        route: set(scopes) for route, scopes in found.items()
    }


def test_each_route_opens_to_its_scope_and_to_admin_and_to_no_other_key(client_with: MakeClient, base_url: str) -> None:
    keys = {scope: client_with(scope).headers["Authorization"] for scope in access.SCOPES}
    anyone = httpx.Client(base_url=base_url, timeout=30)
    wrong = []
    for (method, path), needed in MATRIX.items():
        for held, key in keys.items():
            status = ask(anyone, method, path, {"Authorization": key})
            may = needed in (OPEN, held) or held == "admin"
            if (status in (401, 403)) == may or status >= 500:
                wrong.append((method, path, held, status))
        for headers in ({}, {"Authorization": "Bearer ork_test_aaaaaaaa_b_c"}, {"X-API-Key": "admin"}):
            status = ask(anyone, method, path, headers)
            if (status == 401) == (needed == OPEN):
                wrong.append((method, path, str(headers), status))
    anyone.close()
    assert wrong == []


def test_a_route_that_names_no_scope_does_not_start(store: Store, settings: Settings) -> None:
    app = create_app(store, settings)
    app.add_api_route("/api/oracle/forgotten", health.alive)
    with pytest.raises(Permanent, match="forgotten"):
        auth.check_closed(app)


def test_no_route_describes_the_others_to_everybody(client: httpx.Client) -> None:
    assert {client.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")} == {404}
