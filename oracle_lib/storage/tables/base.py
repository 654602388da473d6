"""What every table shares: one schema, uuidv7 ids, times with a zone, money as Decimal."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

metadata = sa.MetaData(
    schema="oracle",
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    },
)

Moment = sa.DateTime(timezone=True)
Money = sa.Numeric(12, 2)
Json = pg.JSONB
# Rows that are written again find room on their own page, so their indexes need no entry: that was measured to take a
# third of the time. A user's day is written a few times, most rows of activity once a day, every segment twice.
ROOM_FOR_SOME = {"fillfactor": 85}
ROOM_FOR_MOST = {"fillfactor": 60}
ROOM_FOR_ALL = {"fillfactor": 45}


def uuid_id() -> sa.Column:
    """Return a primary key that sorts by time of creation."""
    return sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()"))


def serial_id() -> sa.Column:
    """Return a primary key for rows that never leave the house."""
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def moment(name: str, *, default_now: bool = False, nullable: bool = False) -> sa.Column:
    """Return a column for a point in time."""
    return sa.Column(name, Moment, nullable=nullable, server_default=sa.func.now() if default_now else None)
