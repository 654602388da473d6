"""`/v1/*`: Segment's HTTP interface, so that a backend points its existing Segment client here and it works.

The write key is an API key, as user name of Basic auth with no password. 200 leaves after the commit. A stock client
tries again after 429 and 5xx and drops what was answered 4xx, so a batch with bad messages is answered 200: the good
ones are stored, the bad ones are kept with the reason (`GET /api/oracle/rejected-events`) and never sent again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response

from oracle_api import document
from oracle_api.auth import needs
from oracle_api.deps import Body, Config, Conn, Counters, EveryDoor, Now
from oracle_api.errors import problem
from oracle_api.routes.events import MAX_BATCH
from oracle_api.schemas.intake import (
    SegmentAlias,
    SegmentGroup,
    SegmentIdentify,
    SegmentMessage,
    SegmentPage,
    SegmentTrack,
)
from oracle_api.schemas.people import RejectedOut, SegmentAnswer, WarningOut
from oracle_lib.access import Caller
from oracle_lib.errors import Invalid
from oracle_lib.observe import ingest, segment, segment_ingest
from oracle_lib.observe.batch import IngestReport
from oracle_lib.observe.segment import ABOUT_PEOPLE, KINDS, Envelope, Kind
from oracle_lib.observe.wire import Limits

router = APIRouter(prefix="/v1", tags=["segment"])
EventWriter = Annotated[Caller, needs("events:write")]
PeopleWriter = Annotated[Caller, needs("users:write")]
_EVENTS = frozenset(KINDS) - ABOUT_PEOPLE


@dataclass(frozen=True)
class Intake:
    """One request's body and what it takes to store it."""

    conn: Conn
    now: Now
    settings: Config
    rates: Counters
    body: Body
    doors: EveryDoor

    def one(self, kind: Kind, caller: Caller) -> Response:
        """Take the one message of the body in."""
        self.rates.take(caller)
        report = self._take([self.body], self._envelope(kind), caller)
        if report.rejected:
            refused = report.rejected[0]
            return problem(400, refused.code, refused.detail, field=refused.field)
        return _answer(report)

    def batch(self, caller: Caller) -> Response:
        """Take every message of the body in, each judged by itself."""
        try:
            items, envelope = segment.open_batch(self.body, self._envelope(None))
        except Invalid as error:
            ingest.refuse(self.conn, self.body, error, door=self.doors.of(caller), received_at=self.now)
            return problem(400, error.code, str(error), field=error.field)
        if len(items) > MAX_BATCH:
            return problem(413, "too_many", f"A batch may have {MAX_BATCH} messages; this one has {len(items)}.")
        self.rates.take(caller, len(items))
        return _answer(self._take(items, envelope, caller))

    def _envelope(self, kind: Kind | None) -> Envelope:
        return Envelope(kind, self.now, Limits(self.settings.currency), self.settings.segment_names)

    def _take(self, items: Sequence[bytes], envelope: Envelope, caller: Caller) -> IngestReport:
        may = (_EVENTS if caller.may("events:write") else frozenset()) | (
            ABOUT_PEOPLE if caller.may("users:write") else frozenset()
        )
        return segment_ingest.take(self.conn, items, envelope, door=self.doors.of(caller), allowed=may)


def _reads(message: type[SegmentMessage]) -> dict[str, Any]:
    return document.reads(document.schema(message))


_MESSAGES = [SegmentTrack, SegmentPage, SegmentIdentify, SegmentGroup, SegmentAlias]
_BATCH = document.reads(
    {
        "type": "object",
        "properties": {
            "batch": {
                "type": "array",
                "items": {"anyOf": [document.schema(one) for one in _MESSAGES]},
                "maxItems": MAX_BATCH,
                "description": "Each says its `type`: track, page, screen, identify, group or alias.",
            },
            "sentAt": {"type": "string", "format": "date-time"},
            "context": {"type": ["object", "null"], "description": "Holds for every message."},
        },
        "required": ["batch"],
    }
)
Taking = Annotated[Intake, Depends(Intake)]


@router.post("/track", response_model=SegmentAnswer, openapi_extra=_reads(SegmentTrack))
def track(intake: Taking, caller: EventWriter) -> Response:
    """Take an event in."""
    return intake.one("track", caller)


@router.post("/page", response_model=SegmentAnswer, openapi_extra=_reads(SegmentPage))
def page(intake: Taking, caller: EventWriter) -> Response:
    """Take a page view in."""
    return intake.one("page", caller)


@router.post("/screen", response_model=SegmentAnswer, openapi_extra=_reads(SegmentPage))
def screen(intake: Taking, caller: EventWriter) -> Response:
    """Take a view of an app's screen in, which counts as a page view."""
    return intake.one("screen", caller)


@router.post("/identify", response_model=SegmentAnswer, openapi_extra=_reads(SegmentIdentify))
def identify(intake: Taking, caller: PeopleWriter) -> Response:
    """Change a profile; with an anonymous id beside the user id, merge the two."""
    return intake.one("identify", caller)


@router.post("/group", response_model=SegmentAnswer, openapi_extra=_reads(SegmentGroup))
def group(intake: Taking, caller: PeopleWriter) -> Response:
    """Note the group a user belongs to."""
    return intake.one("group", caller)


@router.post("/alias", response_model=SegmentAnswer, openapi_extra=_reads(SegmentAlias))
def alias(intake: Taking, caller: PeopleWriter) -> Response:
    """Merge a previous id into a user."""
    return intake.one("alias", caller)


@router.post("/batch", response_model=SegmentAnswer, openapi_extra=_BATCH)
def batch(intake: Taking, caller: EventWriter) -> Response:
    """Take up to 2,500 messages in: what the stock clients send."""
    return intake.batch(caller)


@router.post("/import", response_model=SegmentAnswer, openapi_extra=_BATCH)
def import_(intake: Taking, caller: EventWriter) -> Response:
    """Take a batch in, under the name that older clients know."""
    return intake.batch(caller)


def _answer(report: IngestReport) -> Response:
    rejected = [RejectedOut.model_validate(one) for one in report.rejected] or None
    warnings = [WarningOut.model_validate(one) for one in report.warnings] or None
    answer = SegmentAnswer(success=True, rejected=rejected, warnings=warnings)
    return JSONResponse(answer.model_dump(mode="json", by_alias=True, exclude_defaults=True))
