"""The tracking plan over HTTP: what is agreed on holds for every way by which events come in, within seconds."""

import time

import httpx

from tests.api.conftest import MakeClient

SCHEMA = {"type": "object", "required": ["courseId"]}


def until_status(client: httpx.Client, path: str, body: dict[str, object], status: int) -> httpx.Response:
    """Post until the answer has the status: a plan takes effect within five seconds."""
    deadline = time.monotonic() + 6
    while True:
        answer = client.post(path, json=body)
        if answer.status_code == status or time.monotonic() > deadline:
            return answer
        time.sleep(0.2)


def test_a_plan_is_put_shown_enforced_and_removed(client_with: MakeClient) -> None:
    admin, sender = client_with("admin"), client_with("events:write", "users:write")
    event = {"userId": "u", "event": "lesson_complete"}
    assert sender.post("/api/oracle/events", json=event).json() == {"accepted": True, "duplicate": False}
    put = admin.put("/api/oracle/tracking-plan/lesson_complete", json={"schema": SCHEMA, "mode": "reject"})
    assert (put.status_code, put.json()["event"], put.json()["schema"]) == (200, "lesson_complete", SCHEMA)
    shown = admin.get("/api/oracle/tracking-plan").json()["events"]
    assert [(one["event"], one["mode"]) for one in shown] == [("lesson_complete", "reject")]

    refused = until_status(sender, "/api/oracle/events", event, 422)
    assert refused.json()["error"]["code"] == "off_plan"
    message = {"userId": "u", "event": "Lesson Completed", "properties": {}}
    assert sender.post("/v1/track", json=message).json()["error"]["code"] == "off_plan"
    batch = sender.post("/api/oracle/events/batch", json=[event, {**event, "event": "login"}]).json()
    assert (batch["accepted"], batch["rejected"][0]["reason"]) == (1, "off_plan")

    assert admin.delete("/api/oracle/tracking-plan/lesson_complete").status_code == 204
    assert until_status(sender, "/api/oracle/events", event, 202).status_code == 202
    assert admin.delete("/api/oracle/tracking-plan/lesson_complete").status_code == 404


def test_a_warning_stands_in_the_answer_and_the_event_is_stored(client_with: MakeClient) -> None:
    admin, sender = client_with("admin"), client_with("events:write", "events:read")
    admin.put("/api/oracle/tracking-plan/lesson_complete", json={"schema": SCHEMA})
    event = {"userId": "u", "event": "lesson_complete"}
    warned = [
        {"index": 1, "field": "metadata.courseId", "detail": "`metadata.courseId`: 'courseId' is a required property."}
    ]
    good = {**event, "metadata": {"courseId": "c"}}
    answer = sender.post("/api/oracle/events/batch", json=[good, event]).json()
    assert answer == {"accepted": 2, "duplicate": 0, "rejected": [], "warnings": warned}
    single = sender.post("/api/oracle/events", json=event).json()
    assert single == {"accepted": True, "duplicate": False, "warnings": [{**warned[0], "index": 0}]}
    message = {"type": "track", "userId": "u", "event": "Lesson Completed", "properties": {}}
    assert sender.post("/v1/batch", json={"batch": [message]}).json() == {
        "success": True,
        "warnings": [{**warned[0], "index": 0}],
    }
    assert len(sender.get("/api/oracle/events").json()["events"]) == 4


def test_a_schema_that_is_none_is_refused_with_its_place(client_with: MakeClient) -> None:
    admin = client_with("admin")
    answer = admin.put("/api/oracle/tracking-plan/login", json={"schema": {"type": "nothing"}})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "schema")
    assert admin.put("/api/oracle/tracking-plan/Not A Name", json={"schema": {}}).status_code == 422
