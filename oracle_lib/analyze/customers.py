"""Who buys: the purchases that stand as of a day, and each customer's history in the four numbers of a forecast.

A purchase is a day on which something was paid that was not given back by `as_of`. A refund takes back what was bought
last: the money a user has paid is a stack, purchases lay on it and refunds take from its top. More given back than was
ever paid is no debt. A user all of whose purchases were given back is no customer.
"""

from datetime import date

import ibis

from oracle_lib.storage.relations import relation
from oracle_lib.storage.tables import user_days

# What of a history a forecast depends on, and in this order: repeat purchases (days after the first), days from the
# first to the last and to `as_of`, and what the repeats came to.
HISTORY = ["repeats", "last_days", "known_days", "paid"]


def purchases_expr(as_of: date) -> ibis.Table:
    """Return (user_id, day, paid): days with purchases, and what of them stands at the end of `as_of`."""
    d = relation(user_days)
    d = d.filter((d.day <= as_of) & ((d.revenue > 0) | (d.refunds > 0)))
    d = d.select("user_id", "day", change=d.revenue - d.refunds)
    through = d.change.sum().over(group_by="user_id", order_by="day", rows=(None, 0))
    d = d.mutate(before=through - d.change, through=through)
    # The stack was never lower, from that day on, than this: what lies above where it stood before is still there.
    least = d.through.min().over(group_by="user_id", order_by="day", rows=(0, None))
    d = d.mutate(paid=_money(least - d.before))
    return d.filter(d.paid > 0).select("user_id", "day", "paid")


def customers_expr(as_of: date) -> ibis.Table:
    """Return each customer's `user_id` and `HISTORY` at the end of `as_of`. Nothing in it knows a later day."""
    p = purchases_expr(as_of)
    p = p.mutate(first=p.day.min().over(group_by="user_id"))
    again = p.day > p.first
    found = p.group_by("user_id", "first").aggregate(
        repeats=p.count(where=again).cast("int32"),
        last=p.day.max(),
        paid=_money(p.paid.sum(where=again).fill_null(0)),
    )
    return found.select(
        "user_id",
        "repeats",
        last_days=_days(found.first, found.last),
        known_days=_days(found.first, ibis.literal(as_of)),
        paid=found.paid,
    )


def held_out_expr(cut: date, as_of: date) -> ibis.Table:
    """Return `customers_expr(cut)` and `came`, what each paid in the days after `cut` up to `as_of`."""
    known, later = customers_expr(cut), purchases_expr(as_of)
    later = later.filter(later.day > cut).group_by("user_id").aggregate(came=later.paid.sum())
    both = known.left_join(later, "user_id")
    return both.select("user_id", *HISTORY, came=_money(both.came.fill_null(0)))


def _days(earlier: ibis.Value, later: ibis.Value) -> ibis.Value:
    return later.delta(earlier, unit="day").cast("int32")


def _money(value: ibis.Value) -> ibis.Value:
    return value.cast("decimal(12, 2)")
