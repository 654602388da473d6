"""The week in figures: counted once, kept as they were, with words around them. Table `reports`, kind `ceo`.

A week is named by its Sunday. Making a report again counts again: equal figures leave the row untouched, others
replace it with a new `made_at`. Figures: `report_catalogue` and `report_figures`; the words: `report_markdown`. No
sentence says that a message brought something about: the report counts what followed.
"""

from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.clock import start_of, week_of
from oracle_lib.errors import Invalid, NotFound
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import reports
from oracle_lib.tell import report_figures, report_markdown
from oracle_lib.tell.report_figures import WEEK

KIND = "ceo"


@dataclass(frozen=True)
class Report:
    """The report of one week. `body` is what the wire carries and the table keeps; money in it is a string."""

    week: date
    body: dict[str, Any]
    markdown: str
    made_at: datetime

    def figure(self, name: str) -> dict[str, Any]:
        """Return the figure with that id. Raises `NotFound`."""
        for one in self.body["figures"]:
            if one["id"] == name:
                return dict(one)
        raise NotFound(f"The report has no figure `{name}`.")


def make(conn: Connection, week: date, now: datetime, *, settings: Settings) -> Report:
    """Count the week that begins on the Sunday `week`, keep the report and return it. Idempotent.

    Raises `Invalid` for a day that is no Sunday and for a week that is not over.
    """
    _check(week, now)
    page = report_markdown.Page(
        week=week,
        currency=settings.currency,
        figures=report_figures.figures(conn, week, now),
        types=report_figures.by_type(conn, week),
        rules=report_figures.by_rule(conn, week),
    )
    body = {
        "week": week.isoformat(),
        "currency": settings.currency,
        "figures": [_wire(asdict(one)) for one in page.figures],
        "byType": [_wire(asdict(row)) for row in page.types],
        "byRule": [_wire(asdict(row)) for row in page.rules],
    }
    _keep(conn, week, body, report_markdown.write(page), now)
    return get(conn, week)


def get(conn: Connection, week: date | None = None) -> Report:
    """Return the kept report of a week, or the newest one. Raises `NotFound` with the way to make it."""
    wanted = sa.select(reports).where(reports.c.kind == KIND).order_by(reports.c.week.desc()).limit(1)
    if week is not None:
        wanted = wanted.where(reports.c.week == week)
    row = conn.execute(wanted).one_or_none()
    if row is None:
        which = f"for the week of {week}" if week else "yet"
        fix = f"oracle run weekly --date {week}" if week else "oracle run weekly"
        raise NotFound(
            f"There is no report {which}. A week is named by its Sunday; make its report with `{fix}` or materialize"
            " the asset `ceo_report` for it."
        )
    return Report(week=row.week, body=row.figures, markdown=row.markdown, made_at=row.made_at)


def _check(week: date, now: datetime) -> None:
    if week != week_of(week):
        raise Invalid(
            f"`week` {week} is no Sunday; a week is named by its Sunday, here {week_of(week)}.",
            field="week",
            code="not_a_sunday",
        )
    if start_of(week + WEEK) > now:
        raise Invalid(
            f"The week of {week} ends on {week + WEEK} at 00:00 UTC; report it after that.",
            field="week",
            code="week_not_over",
        )


def _wire(fields: dict[str, Any]) -> dict[str, Any]:
    return {_camel(name): str(value) if isinstance(value, Decimal) else value for name, value in fields.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _keep(conn: Connection, week: date, body: dict[str, Any], markdown: str, now: datetime) -> None:
    fresh = insert(reports).values(kind=KIND, week=week, figures=body, markdown=markdown, made_at=now)
    new = fresh.excluded
    conn.execute(
        fresh.on_conflict_do_update(
            index_elements=[reports.c.kind, reports.c.week],
            set_={"figures": new.figures, "markdown": new.markdown, "made_at": new.made_at},
            where=sa.or_(reports.c.figures != new.figures, reports.c.markdown != new.markdown),
        )
    )
