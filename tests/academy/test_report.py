"""The week's report of an academy that was lived in: no figure in it that a query of the sources does not give too."""

from datetime import date
from decimal import Decimal

import pytest
import sqlalchemy as sa

from oracle_lib.clock import DAY, start_of
from oracle_lib.tell import ceo_report
from oracle_lib.tell.ceo_report import Report
from oracle_lib.tell.report_catalogue import KINDS
from oracle_lib.tell.report_figures import WEEK as A_WEEK
from tests.academy.by_hand import SQL
from tests.academy.lived import WEEK, Life

IDS = [kind.id for kind in KINDS]


@pytest.fixture(scope="module")
def report(life: Life) -> Report:
    """The report as the weekly job kept it."""
    with life.store.transaction() as conn:
        return ceo_report.get(conn, WEEK)


def by_hand(life: Life, name: str, week: date) -> object:
    after = week + A_WEEK
    span = {"start": start_of(week), "stop": start_of(after), "last": after - DAY, "after": after}
    with life.store.transaction() as conn:
        conn.exec_driver_sql("SET LOCAL statement_timeout TO '20s'")
        return conn.scalar(sa.text(SQL[name]), span)


@pytest.mark.parametrize("name", IDS)
def test_a_figure_and_the_one_beside_it_equal_a_query_of_the_sources(life: Life, report: Report, name: str) -> None:
    told = report.figure(name)
    of_unit = Decimal if told["unit"] == "money" else type(told["value"])
    assert of_unit(told["value"]) == by_hand(life, name, WEEK)
    assert of_unit(told["before"]) == by_hand(life, name, WEEK - A_WEEK)
    assert of_unit(told["change"]) == round(of_unit(told["value"]) - of_unit(told["before"]), 2)


def test_every_figure_is_queried_and_none_is_empty(report: Report) -> None:
    assert sorted(SQL) == sorted(IDS)
    empty = [one["id"] for one in report.body["figures"] if not Decimal(one["value"]) or not Decimal(one["before"])]
    assert empty == [], "what is zero in both places is compared with nothing"
