"""Every kind of condition over a seeded academy: two engines and plain Python pick the same users; values are data."""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import ibis
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide.conditions import Condition, leaves, nodes, parse, wire
from oracle_lib.decide.matching import matches
from oracle_lib.decide.reach import reach
from oracle_lib.errors import Invalid
from oracle_lib.storage import tables
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from oracle_lib.storage.publish import compiled, run
from tests.conftest import FULL, fresh_database
from tests.everything import COURSES, LEVELS, STORED_TEXTS, TEMPLATES, TODAY, USERS, fill
from tests.plain_conditions import READ, Plain, read
from tests.second_engine import copied

TREES = 10_000 if FULL else 300
HOSTILE_VALUES = 10_000 if FULL else 300
# Trees, and single leaves, in one scan.
TREES_AT_ONCE, LEAVES_AT_ONCE = 25, 300

EVENTS = ("login", "quiz_fail", "lesson_start", "lesson_complete", "purchase", "video_watched", "badge_won")


@dataclass(frozen=True)
class Academy:
    """The same rows three times: two engines and plain Python."""

    conn: Connection
    duck: duckdb.DuckDBPyConnection
    plain: Plain

    def pick(self, asked: Mapping[str, Condition], engine: str) -> dict[str, set[str]]:
        """Return who an engine picks for each condition, all of them in one scan."""
        rows = matches(asked, TODAY).select("user_id", *asked)
        if engine == "postgres":
            return _picked(run(self.conn, compiled(rows)).all(), list(asked))
        return _picked(self.duck.execute(str(ibis.to_sql(rows, dialect="duckdb"))).fetchall(), list(asked))

    def differences(self, conditions: Sequence[Condition], at_once: int, *engines: str) -> list[Condition]:
        """Return the conditions for which an engine picks others than plain Python does."""
        wrong = []
        for group in _groups(conditions, at_once):
            asked = {f"rule_{number}": condition for number, condition in enumerate(group)}
            picked = [self.pick(asked, engine) for engine in engines]
            for name, condition in asked.items():
                expected = self.plain.holders(condition)
                if any(found[name] != expected for found in picked):
                    wrong.append(condition)
        return wrong


def _picked(rows: Sequence, names: list[str]) -> dict[str, set[str]]:
    return {name: {row[0] for row in rows if row[place]} for place, name in enumerate(names, start=1)}


def _groups(conditions: Sequence[Condition], size: int) -> Iterator[Sequence[Condition]]:
    return (conditions[first : first + size] for first in range(0, len(conditions), size))


@pytest.fixture(scope="module")
def academy(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Academy]:
    with fresh_database(server) as url:
        store = Store(url)
        with store.engine.connect() as conn:
            # At full size plain Python alone takes longer than a transaction may be idle.
            conn.exec_driver_sql("SET idle_in_transaction_session_timeout = 0")
            fill(conn)
            with copied(conn, READ, tmp_path_factory.mktemp("rows")) as duck:
                yield Academy(conn, duck, read(conn, TODAY))
        store.close()


Body = dict[str, object]


class Trees:
    """Random trees as JSON, over every kind of leaf."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.kinds: tuple[Callable[[], Body], ...] = (
            self.segment, self.text, self.level, self.event, self.sum, self.days_since, self.change, self.moved,
            self.sequence, self.message, self.prediction, self.progress, self.trait, self.tag,
        )  # fmt: skip

    def tree(self, depth: int = 3) -> Body:
        """One tree."""
        pick = self.pick
        if depth == 0 or pick.random() < 0.45:
            return pick.choice(self.kinds)()
        kind = pick.choice(["all", "any", "not"])
        if kind == "not":
            return {"not": self.tree(depth - 1)}
        return {kind: [self.tree(depth - 1) for _ in range(pick.randint(1, 3))]}

    def compared(self, *values: object) -> Body:
        return {"op": self.pick.choice(["=", "!=", "<", "<=", ">", ">="]), "value": self.pick.choice(values)}

    def counted(self) -> Body:
        return {"count": self.compared(0, 1, 2, 3, 5)} if self.pick.random() < 0.7 else {}

    def window(self) -> Body:
        return {"within_days": self.pick.choice([1, 2, 7, 14, 30])} if self.pick.random() < 0.8 else {}

    def either(self, **options: Sequence[object]) -> Body:
        return {name: self.pick.choice(words) for name, words in options.items() if self.pick.random() < 0.5}

    def segment(self) -> Body:
        name = self.pick.choice(["churnRisk", "upgradeProb", "progress", "engagementScore", "ltv"])
        return {"segment": name, **self.compared(0, 1, 25, 26, 50, 60, 100, 500)}

    def text(self) -> Body:
        words = ["hobbyist", *STORED_TEXTS]
        if self.pick.random() < 0.3:
            return {"segment": "persona", "op": "in", "value": self.pick.sample(words, 2)}
        return {"segment": "persona", "op": self.pick.choice(["=", "!="]), "value": self.pick.choice([None, *words])}

    def level(self) -> Body:
        name = self.pick.choice(list(LEVELS))
        return {"segment": name, "op": self.pick.choice(["=", "!="]), "value": self.pick.choice(LEVELS[name])}

    def event(self) -> Body:
        return {"event": self.pick.choice(EVENTS), **self.window(), **self.counted()}

    def sum(self) -> Body:
        of = self.pick.choice(["revenue", "refunds", "seconds"])
        values = (0, 60, 300, 900, 2000) if of == "seconds" else (0, 0.01, 49.9, 100, 250)
        return {"sum": {"of": of, **self.compared(*values)}, **self.window()}

    def days_since(self) -> Body:
        return {"days_since": {"event": self.pick.choice([*EVENTS, "activity"]), **self.compared(0, 1, 3, 7, 20)}}

    def change(self) -> Body:
        name = self.pick.choice(list(LEVELS))
        ends = dict(zip(("from", "to"), self.pick.sample(LEVELS[name], 2), strict=True))
        kept = {end: word for end, word in ends.items() if self.pick.random() < 0.6}
        return {"change": name, "within_days": self.pick.randint(1, 20), **kept}

    def moved(self) -> Body:
        name = self.pick.choice(["engagementLevel", "churnLevel", "valueSegment"])
        way = {self.pick.choice(["rose", "fell"]): self.pick.choice([True, 1, 2])}
        return {"change": name, "within_days": self.pick.randint(1, 20), **way}

    def sequence(self) -> Body:
        first, then = self.pick.sample(EVENTS, 2)
        within = self.pick.randint(1, 10)
        order = {"first": first, self.pick.choice(["then", "then_not"]): then, "within_days": within}
        return {"sequence": order | self.either(in_last_days=[within + 1, within + 10])}

    def message(self) -> Body:
        what = self.pick.choice(["sent", "opened", "not_opened", "clicked"])
        chosen = self.either(channel=["email", "dm", "push"], template=TEMPLATES)
        return {"message": what, **chosen, **self.window(), **self.counted()}

    def prediction(self) -> Body:
        target = self.pick.choice(["churn", "completion", "upgrade", "referral"])
        if self.pick.random() < 0.2:
            return {"prediction": target, "op": self.pick.choice(["=", "!="]), "value": None}
        return {"prediction": target, **self.compared(0, 1, 26, 50, 60, 100)}

    def progress(self) -> Body:
        course = self.pick.choice([*COURSES, "not taught"])
        return {"progress": {"course": course, **self.compared(0, 12, 13, 25, 50)}}

    def trait(self) -> Body:
        value = self.pick.choice(["pro", 5, 5.5, True, None, *STORED_TEXTS])
        return {"trait": self.pick.choice(["plan", "seats"]), "op": self.pick.choice(["=", "!="]), "value": value}

    def tag(self) -> Body:
        return {"tag": self.pick.choice(["vip", "nobody's", *STORED_TEXTS])}


def trees(count: int, seed: int) -> list[Condition]:
    made = Trees(seed)
    return [parse(made.tree()) for _ in range(count)]


def test_random_trees_pick_the_same_users_on_both_engines_as_in_plain_python(academy: Academy) -> None:
    asked = trees(TREES, seed=1)
    assert academy.differences(asked, TREES_AT_ONCE, "postgres", "duckdb") == []
    # Trees that hold for nobody or everybody would find nothing out.
    telling = [tree for tree in asked if 0 < len(academy.plain.holders(tree)) < USERS]
    assert len(telling) > 0.6 * TREES


def test_every_kind_of_leaf_tells_users_apart(academy: Academy) -> None:
    made = Trees(seed=2)
    for kind in made.kinds:
        asked = [parse(kind()) for _ in range(30)]
        assert any(0 < len(academy.plain.holders(leaf)) < USERS for leaf in asked), kind.__name__


def test_trees_are_written_and_read_back() -> None:
    for tree in trees(TREES, seed=3):
        assert parse(wire(tree)) == tree


def test_a_scan_narrowed_to_some_users_picks_the_same_of_them(academy: Academy) -> None:
    asked = {f"rule_{number}": tree for number, tree in enumerate(trees(40, seed=4))}
    users = ibis.table({"id": "string"}, name="users")
    some = users.filter(users.id.like("%7")).select(user_id=users.id)
    rows = matches(asked, TODAY, some).select("user_id", *asked)
    here = _picked(run(academy.conn, compiled(rows)).all(), list(asked))
    for name, condition in asked.items():
        assert here[name] == {one for one in academy.plain.holders(condition) if one.endswith("7")}, condition


def test_every_part_of_a_tree_is_counted_as_plain_python_picks_it(academy: Academy) -> None:
    for tree in trees(10, seed=5):
        counted = reach(academy.conn, tree, TODAY)
        assert counted.users == USERS
        expected = [(place, len(academy.plain.holders(part))) for place, part in nodes(tree)]
        assert [(one.place, one.users) for one in counted.nodes] == expected


PARTS = (
    "'", '"', "''", "\\", "--", "/*", "*/", ";", "%", "%%", "%s", "%(x)s", ":name", "::text", "$1", "$$", "{x}",
    "{{ 7 * 7 }}", "{% raw %}", "${x}", " OR 1=1", "DROP TABLE users", "UNION SELECT NULL", "\n", "\t", "\r", "\x00",
    "\ud800", "\u202e", "\ufeff", "💚", "ß", "İ", "é", "E'\\x27'", "pg_sleep(9)", "NULL", "0x27", "`", "a", " ",
)  # fmt: skip
ODD: tuple[object, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 1e308, float("nan"), float("inf"), -0.0, 0.1, 1.005, "", " ",
    [], ["a"], [None], [[1]], {}, {"op": "="}, {"a": {"b": 1}}, "x" * 201, "x" * 200, b"x", (1,),
)  # fmt: skip
# Every place where a value may stand.
PLACES: tuple[Callable[[object], Body], ...] = (
    lambda value: {"segment": value, "op": "=", "value": 1},
    lambda value: {"segment": "churnRisk", "op": value, "value": 1},
    lambda value: {"segment": "churnRisk", "op": ">=", "value": value},
    lambda value: {"segment": "ltv", "op": "<", "value": value},
    lambda value: {"segment": "lifecycle", "op": "=", "value": value},
    lambda value: {"segment": "persona", "op": "=", "value": value},
    lambda value: {"segment": "persona", "op": "in", "value": [value, "hobbyist"]},
    lambda value: {"change": value, "within_days": 3},
    lambda value: {"change": "lifecycle", "from": value, "within_days": 3},
    lambda value: {"change": "lifecycle", "to": value, "within_days": 3},
    lambda value: {"change": "churnLevel", "rose": value, "within_days": 3},
    lambda value: {"change": "churnLevel", "within_days": value},
    lambda value: {"event": value},
    lambda value: {"event": "login", "within_days": value},
    lambda value: {"event": "login", "count": value},
    lambda value: {"event": "login", "count": {"op": ">", "value": value}},
    lambda value: {"sum": value},
    lambda value: {"sum": {"of": value, "op": ">", "value": 1}},
    lambda value: {"sum": {"of": "revenue", "op": ">", "value": value}},
    lambda value: {"days_since": value},
    lambda value: {"days_since": {"event": value, "op": ">", "value": 1}},
    lambda value: {"days_since": {"event": "login", "op": ">", "value": value}},
    lambda value: {"sequence": value},
    lambda value: {"sequence": {"first": value, "then": "login", "within_days": 3}},
    lambda value: {"sequence": {"first": "login", "then_not": value, "within_days": 3}},
    lambda value: {"sequence": {"first": "login", "then": "quiz_fail", "within_days": value}},
    lambda value: {"message": value},
    lambda value: {"message": "sent", "channel": value},
    lambda value: {"message": "sent", "template": value},
    lambda value: {"prediction": value, "op": ">", "value": 1},
    lambda value: {"prediction": "upgrade", "op": ">", "value": value},
    lambda value: {"progress": {"course": value, "op": ">=", "value": 0}},
    lambda value: {"progress": {"course": "c0", "op": ">=", "value": value}},
    lambda value: {"trait": value, "op": "=", "value": "pro"},
    lambda value: {"trait": "plan", "op": "=", "value": value},
    lambda value: {"tag": value},
    lambda value: {"all": value},
    lambda value: {"not": value},
    lambda value: {str(value): 1},
    lambda value: {"tag": "vip", str(value): 1},
)


def hostile(count: int) -> list[object]:
    """Values nobody types by accident; those that are stored somewhere come first."""
    pick = random.Random(6)
    known: list[object] = [*STORED_TEXTS, *COURSES, *PARTS, *ODD]
    made = ["".join(pick.choices(PARTS, k=pick.randint(1, 6))) for _ in range(count)]
    return [*known, *made][:count]


def test_hostile_values_are_data_or_refused_with_their_place(academy: Academy) -> None:
    read_as_data: list[Condition] = []
    refused: list[Invalid] = []
    for value, place in itertools.product(hostile(HOSTILE_VALUES), PLACES):
        try:
            read_as_data.append(parse(place(value)))
        except Invalid as error:
            refused.append(error)
    nameless = [one for one in refused if not (one.field or "").startswith("conditions") or one.field not in str(one)]
    assert nameless == []
    assert len(read_as_data) > 3 * HOSTILE_VALUES
    data = list(dict.fromkeys(read_as_data))
    assert academy.differences(data, LEAVES_AT_ONCE, "postgres") == []
    assert academy.differences(data[:LEAVES_AT_ONCE], LEAVES_AT_ONCE, "duckdb") == []
    assert sum(bool(academy.plain.holders(leaf)) for leaf in read_as_data if "'" in str(list(leaves(leaf)))) > 10
    assert academy.conn.scalar(sa.select(sa.func.count()).select_from(tables.users)) == USERS
