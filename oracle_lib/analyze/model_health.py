"""Does each promoted model still mean what it says? Asked daily; a no holds the rules that ask for its predictions.

Stable: those of whom it is asked today score like those it was measured on (population stability index of the score).
Calibrated: what it said of users once a week is held against what they did in the days it spoke of. Who was written to
because of a score may have stayed because of it: that shows here as a risk that was said too high.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze.findings import Finding
from oracle_lib.analyze.targets import AT_RISK_DAYS, TARGETS, Target
from oracle_lib.clock import DAY
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import models, past_scores, predictions, segments, user_days

# Population stability index: a quarter is the customary bound of a shift that matters.
MOST_SHIFT = 0.25
# Mean distance of what was said and what came, over the bins.
MOST_ERROR = 0.10
# Fewer scores than this say nothing, and a bin of fewer than that is mostly chance.
MIN_SCORES, _BIN_OF = 200, 100
_MOST_BINS = 10
_LEAST_SHARE = 0.001
# How many users' scores are kept a week and target, and for how long.
_KEPT_USERS = 20_000
_EVERY = timedelta(days=7)
_KEPT_FOR = timedelta(weeks=26)

QUESTIONS = {
    f"{target.name}_is_{word}": sentence.format(target.name)
    for target in TARGETS
    for word, sentence in (
        ("stable", "Users of whom {} is asked score like those its model was measured on."),
        ("calibrated", "What was said of {} weeks ago is what came, on average."),
    )
}


def inspect(conn: Connection, as_of: date, settings: Settings) -> list[Finding]:
    """Ask both questions of every target's model, as predictions stand on `as_of`. Reads only."""
    standing = {row.target: row for row in conn.execute(sa.select(models).where(models.c.status == "promoted"))}
    found = []
    for target in TARGETS:
        model = standing.get(target.name)
        if model is None:
            unknown = "There is no model: nothing is said, and conditions on it do not hold."
            names = (f"{target.name}_is_stable", f"{target.name}_is_calibrated")
            found += [Finding(name, True, unknown, target.name) for name in names]
        else:
            found += [_stable(conn, target, model, as_of), _calibrated(conn, target, model, as_of - DAY, settings)]
    return found


def keep_scores(conn: Connection, as_of: date) -> int:
    """Keep what is said now, once a week, of some users; forget what is old. Return how many scores were kept.

    Scores that stand on `as_of` speak of the days after the newest closed one.
    """
    day = as_of - DAY
    newest = conn.scalar(sa.select(sa.func.max(past_scores.c.day)))
    if newest is not None and day - newest < _EVERY:
        return 0
    conn.execute(sa.delete(past_scores).where(past_scores.c.day < day - _KEPT_FOR))
    place = sa.func.row_number().over(partition_by=predictions.c.target, order_by=sa.func.md5(predictions.c.user_id))
    columns = [predictions.c[name] for name in ("target", "user_id", "probability", "model_id")]
    drawn = _of_those_asked(sa.select(*columns, place.label("place")), as_of).subquery()
    kept = sa.select(sa.literal(day, sa.Date), *(drawn.c[column.name] for column in columns))
    names = ["day", *(column.name for column in columns)]
    into = sa.insert(past_scores).from_select(names, kept.where(drawn.c.place <= _KEPT_USERS))
    return conn.execute(into.execution_options(preserve_rowcount=True)).rowcount


def population_stability(expected: Sequence[float], found: Sequence[float]) -> float:
    """Return the population stability index of two lists of shares over the same bins: 0 where they are alike.

    The symmetric Kullback-Leibler divergence, with empty bins held at a thousandth.
    """
    pairs = [(max(e, _LEAST_SHARE), max(f, _LEAST_SHARE)) for e, f in zip(expected, found, strict=True)]
    return sum((f - e) * math.log(f / e) for e, f in pairs)


def _stable(conn: Connection, target: Target, model: sa.Row, as_of: date) -> Finding:
    name, spread = f"{target.name}_is_stable", model.metrics["spread"]
    edges: list[float] = spread["edges"]
    bucket = sa.func.width_bucket(predictions.c.probability, sa.cast(edges, sa.ARRAY(sa.Float))).label("bin")
    counted = _of_those_asked(sa.select(bucket, sa.func.count().label("users")), as_of)
    chosen = counted.where(predictions.c.target == target.name).group_by(bucket)
    counts: Mapping[int, int] = {row.bin: row.users for row in conn.execute(chosen)}
    total = sum(counts.values())
    if total < MIN_SCORES:
        return Finding(name, True, f"Only {total} users are asked; {MIN_SCORES} are needed to tell.", target.name)
    shares = [counts.get(place, 0) / total for place in range(len(edges) + 1)]
    index = population_stability(spread["shares"], shares)
    detail = f"Population stability index {index:.3f} over {total:,} users; up to {MOST_SHIFT} is stable."
    return Finding(name, index <= MOST_SHIFT, detail, target.name)


def _calibrated(conn: Connection, target: Target, model: sa.Row, newest: date, settings: Settings) -> Finding:
    name, horizon = f"{target.name}_is_calibrated", target.horizon(settings)
    mine = (past_scores.c.target == target.name) & (past_scores.c.model_id == model.id)
    day = conn.scalar(sa.select(sa.func.max(past_scores.c.day)).where(mine, past_scores.c.day <= newest - horizon))
    if day is None:
        return Finding(name, True, f"No score of version {model.version} is {horizon.days} days old yet.", target.name)
    bins = _bins(conn, target, mine & (past_scores.c.day == day), day, horizon)
    total = sum(row.users for row in bins)
    if total < MIN_SCORES:
        return Finding(name, True, f"Only {total} scores of {day}; {MIN_SCORES} are needed to tell.", target.name)
    error = sum(row.users * abs(row.said - row.came) for row in bins) / total
    said = sum(row.users * row.said for row in bins) / total
    came = sum(row.users * row.came for row in bins) / total
    detail = (
        f"Of {total:,} users scored for {day}, {said:.1%} were expected and {came:.1%} came; calibration error"
        f" {error:.3f}, up to {MOST_ERROR} is good."
    )
    return Finding(name, error <= MOST_ERROR, detail, target.name)


def _bins(
    conn: Connection, target: Target, which: sa.ColumnElement[bool], day: date, horizon: timedelta
) -> Sequence[sa.Row]:
    """Return bins of equal size by what was said: users, the mean of what was said, the share to whom it came true."""
    total = conn.scalar(sa.select(sa.func.count()).select_from(past_scores).where(which)) or 0
    shown = sa.exists().where(
        user_days.c.user_id == past_scores.c.user_id,
        user_days.c.day > day,
        user_days.c.day <= day + horizon,
        user_days.c[target.happens] > 0,
    )
    bins = min(_MOST_BINS, max(total // _BIN_OF, 1))
    scored = sa.select(
        past_scores.c.probability,
        sa.cast(~shown if target.absent else shown, sa.Integer).label("came"),
        sa.func.ntile(bins).over(order_by=(past_scores.c.probability, past_scores.c.user_id)).label("bin"),
    ).where(which)
    held = scored.subquery()
    return conn.execute(
        sa.select(
            sa.func.count().label("users"),
            sa.cast(sa.func.avg(held.c.probability), sa.Float).label("said"),
            sa.cast(sa.func.avg(held.c.came), sa.Float).label("came"),
        ).group_by(held.c.bin)
    ).all()


def _of_those_asked(query: sa.Select, as_of: date) -> sa.Select:
    """Narrow a query of `predictions` to users who acted lately: of all others churn is said, but was never learned."""
    lately = segments.c.last_active_on > as_of - timedelta(days=AT_RISK_DAYS)
    return query.join(segments, segments.c.user_id == predictions.c.user_id).where(lately)
