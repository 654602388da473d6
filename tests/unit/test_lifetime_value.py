"""BG/NBD and Gamma-Gamma: the published figures on CDNOW, and customers made by the models' own story."""

import gzip
import json
from dataclasses import astuple, replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from oracle_lib.analyze import lifetime_value
from oracle_lib.analyze.lifetime_value import Buying, Customers, Fit, Spending
from oracle_lib.cli.commands import app
from oracle_lib.errors import Invalid
from oracle_lib.evaluate import purchases
from oracle_lib.evaluate.purchases import Columns

BUYING = Buying(r=0.5, alpha=6.0, a=0.8, b=2.5)
SPENDING = Spending(p=6.0, q=4.0, gamma=15.0)
TRUE = Fit(BUYING, 0.0, SPENDING, 0.0)
WEEKS, AHEAD = 60.0, 30.0


def lived(count: int, seed: int) -> tuple[Customers, np.ndarray, np.ndarray]:
    """Customers who live by the models, and what they buy and pay in the weeks after."""
    rnd = np.random.default_rng(seed)
    rows, bought, paid = [], [], []
    for _ in range(count):
        rate, leaving = rnd.gamma(BUYING.r) / BUYING.alpha, rnd.beta(BUYING.a, BUYING.b)
        known, when, days = rnd.uniform(WEEKS / 2, WEEKS), 0.0, []
        while (when := when + rnd.exponential(1 / rate)) <= known + AHEAD:
            days.append(when)
            if rnd.random() < leaving:
                break
        amounts = rnd.gamma(SPENDING.p, SPENDING.gamma / rnd.gamma(SPENDING.q), len(days))
        seen = sum(day <= known for day in days)
        rows.append((seen, days[seen - 1] if seen else 0.0, known, amounts[:seen].mean() if seen else 0.0))
        bought.append(len(days) - seen)
        paid.append(amounts[seen:].sum())
    return Customers(*np.array(rows).T), np.array(bought), np.array(paid)


def test_the_figures_published_for_cdnow_are_found(real_data: Path) -> None:
    file = real_data / "cdnow" / "CDNOW_sample.txt"
    columns = ["--user", "1", "--date", "2", "--amount", "4"]
    done = CliRunner().invoke(
        app, ["evaluate", "ltv", str(file), *columns, "--calibration-end", "1997-09-30", "--json"]
    )
    report = json.loads(done.stdout)
    assert report["customers"] == 2357
    found = report["buying"]
    assert (found["r"], found["a"], found["b"]) == pytest.approx((0.243, 0.793, 2.426), abs=0.005)
    assert found["alpha"] == pytest.approx(4.414, abs=0.05)
    assert report["log_likelihood"] == pytest.approx(-9582.4, abs=0.5)
    assert report["week"] == 78
    assert report["total_off_percent"] == pytest.approx(-4.1, abs=0.5)
    # Fader, Hardie (2013) give these for the same customers.
    assert list(report["spending"].values()) == pytest.approx([6.25, 3.74, 15.44], rel=0.005)


def test_parameters_are_recovered_from_customers_who_live_by_them() -> None:
    customers, _, _ = lived(8_000, seed=1)
    fit = lifetime_value.fit(customers)
    assert fit.spending is not None
    assert np.log(astuple(fit.buying)) == pytest.approx(np.log(astuple(BUYING)), abs=0.25)
    assert np.log(astuple(fit.spending)) == pytest.approx(np.log(astuple(SPENDING)), abs=0.25)


def test_what_is_expected_comes_and_lies_in_its_interval_as_often_as_it_says() -> None:
    customers, bought, paid = lived(6_000, seed=2)
    expected = lifetime_value.expected(BUYING, customers, AHEAD)
    worth = expected * lifetime_value.expected_amount(SPENDING, customers)
    counts = lifetime_value.simulate(TRUE, customers, AHEAD, amounts=False, share=0.9)
    revenue = lifetime_value.simulate(TRUE, customers, AHEAD, amounts=True, share=0.9)
    assert counts.totals.mean() == pytest.approx(expected.sum(), rel=0.02)
    assert revenue.totals.mean() == pytest.approx(worth.sum(), rel=0.02)
    assert abs(bought.sum() - expected.sum()) < 4 * counts.totals.std()
    assert abs(paid.sum() - worth.sum()) < 4 * revenue.totals.std()
    # Counts are whole, so an interval holds at least its share; who will buy nothing is nearly always right.
    assert 0.9 <= ((counts.lower <= bought) & (bought <= counts.upper)).mean() < 0.99
    often = counts.upper >= 5
    assert often.sum() > 200
    assert ((counts.lower <= bought) & (bought <= counts.upper))[often].mean() == pytest.approx(0.92, abs=0.04)


def test_an_interval_of_money_holds_as_often_as_it_says_however_many_pay_nothing() -> None:
    customers, _, paid = lived(6_000, seed=5)
    revenue = lifetime_value.simulate(TRUE, customers, AHEAD, amounts=True, share=0.8)
    asked = revenue.upper > 0
    from_zero = asked & (revenue.lower == 0)
    held = (revenue.lower <= paid) & (paid <= revenue.upper)
    assert from_zero.sum() > 2_000
    assert held[from_zero].mean() == pytest.approx(0.8, abs=0.02)
    assert held[asked].mean() == pytest.approx(0.8, abs=0.02)
    # Whose interval is 0 alone most likely buy nothing: more often than it says, but they may.
    assert 0.8 <= held[~asked].mean() < 1


def test_what_is_paid_is_expected_only_where_amounts_have_a_mean() -> None:
    customers, _, _ = lived(100, seed=6)
    worth = lifetime_value.expected_value(TRUE, customers, AHEAD)
    alike = lifetime_value.expected(BUYING, customers, AHEAD) * lifetime_value.expected_amount(SPENDING, customers)
    assert worth == pytest.approx(alike)
    with pytest.raises(Invalid, match="Too few repeat purchases have an amount"):
        lifetime_value.expected_value(replace(TRUE, spending=None), customers, AHEAD)
    with pytest.raises(Invalid, match="no mean"):
        lifetime_value.expected_value(replace(TRUE, spending=replace(SPENDING, q=1.0)), customers, AHEAD)


def test_silence_lowers_what_is_expected_and_a_purchase_raises_it() -> None:
    weeks = np.array([0.0, 5.0, 20.0, 50.0])
    silent = Customers(np.full(4, 6.0), np.full(4, 10.0), 10.0 + weeks, np.full(4, 20.0))
    expected = lifetime_value.expected(BUYING, silent, AHEAD)
    assert list(expected) == sorted(expected, reverse=True)
    often = Customers(np.arange(1.0, 5.0), np.full(4, 30.0), np.full(4, 31.0), np.full(4, 20.0))
    assert list(lifetime_value.expected(BUYING, often, AHEAD)) == sorted(lifetime_value.expected(BUYING, often, AHEAD))
    assert lifetime_value.alive(BUYING, replace(silent, repeats=np.zeros(4))) == pytest.approx(np.ones(4))


def test_the_unit_of_money_changes_the_unit_and_nothing_else() -> None:
    customers, _, _ = lived(3_000, seed=3)
    euros = lifetime_value.fit(customers)
    cents = lifetime_value.fit(replace(customers, amount=customers.amount * 100))
    assert cents.buying == euros.buying
    assert euros.spending is not None
    assert cents.spending is not None
    assert cents.spending.gamma / euros.spending.gamma == pytest.approx(100, rel=1e-3)
    assert cents.spending.p == pytest.approx(euros.spending.p, rel=1e-3)


def test_too_few_who_bought_again_are_refused() -> None:
    customers, _, _ = lived(3_000, seed=4)
    with pytest.raises(Invalid, match="at least 30"):
        lifetime_value.fit(customers.part(slice(0, 20)))


ROWS = [(f"c{n}", f"1997-0{1 + n % 3}-1{n % 9}", "10.5") for n in range(60)]
AGAIN = [(f"c{n}", f"1997-0{4 + n % 5}-2{n % 8}", "20") for n in range(50)]
LATER = [("c1", "1997-12-24 08:30:00", "5")]


@pytest.mark.parametrize("form", ["commas and names", "commas, header, numbers", "blanks", "packed"])
def test_a_file_is_read_in_each_of_its_forms(tmp_path: Path, form: str) -> None:
    rows = [*ROWS, *AGAIN, *LATER]
    text = "\n".join(",".join(row) for row in rows)
    columns = Columns("0", "1", "2")
    match form:
        case "commas and names":
            text, columns = f"who,day,paid\n{text}", Columns("who", "day", "paid")
        case "commas, header, numbers":
            text = f"who,day,paid\n{text}"
        case "blanks":
            text = text.replace(" 08:30:00", "").replace("-", "").replace(",", "  ")
    file = tmp_path / "purchases.txt"
    file.write_text(text)
    if form == "packed":
        file = tmp_path / "purchases.csv.gz"
        file.write_bytes(gzip.compress(text.encode()))
    report = purchases.evaluate(file, columns, date(1997, 10, 31))
    assert (report.customers, report.total_actual, report.purchases.actual) == (60, 51, 1)
    assert report.revenue is not None
    assert report.revenue.actual == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rows"),
        ("c1,1997-01-01,5\nc2,yesterday,5", "line 2.*Dates are"),
        ("c1,1997-01-01,5\nc2,1997-01-02,nan", "line 2.*no number"),
        ("c1,1997-01-01,5\nc2,1997-01-02", "line 2: 2 columns"),
        ("c1,1997-01-01,5", "nothing lies after"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "purchases.csv"
    file.write_text(text)
    with pytest.raises(Invalid, match=said):
        purchases.evaluate(file, Columns("0", "1", "2"), date(1998, 1, 1))


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "purchases.csv"
    file.write_text("who,day,paid\nc1,1997-01-01,5")
    with pytest.raises(Invalid, match="no column amount; it has who, day, paid"):
        purchases.evaluate(file, Columns("who", "day", "amount"), date(1996, 1, 1))
