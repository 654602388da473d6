"""Rules as files, one JSON file a rule: to be reviewed, kept in version control and taken to another installation.

A file holds what is published: no draft, no id, no counter, no pause. `export` writes them, `read` and `plan` say what
they would change, `apply` publishes that. Files and rules are matched by name. Nothing is ever deleted, on either side.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import definition, rules_engine
from oracle_lib.decide.definition import Definition
from oracle_lib.decide.rule_changes import Change, changes
from oracle_lib.decide.rules_engine import Rule
from oracle_lib.errors import Conflict, Invalid, Permanent
from oracle_lib.storage.tables import rules

_DRAFTS_ONLY = sa.select(rules.c.name, rules.c.id).where(rules.c.version == 0, rules.c.archived_at.is_(None))
# A file's name has at most 255 bytes, and a letter up to four.
_LONGEST_SLUG = 60


@dataclass(frozen=True)
class Exported:
    """The files that were written, and those that lie beside them and hold no rule of the installation."""

    written: tuple[str, ...]
    strangers: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """What one file would do to the rule of its name. `version` is the one it was compared with, 0: none."""

    file: str
    rule: Definition
    rule_id: UUID | None
    version: int
    changes: tuple[Change, ...]

    @property
    def kind(self) -> Literal["new", "changed", "same"]:
        """Whether the rule is published for the first time, again, or not at all."""
        if self.version == 0:
            return "new"
        return "changed" if self.changes else "same"


@dataclass(frozen=True)
class Plan:
    """What files would change. `others` are the published rules of which there is no file: they stay as they are."""

    steps: tuple[Step, ...]
    others: tuple[str, ...]

    @property
    def to_publish(self) -> tuple[Step, ...]:
        """The steps that publish something."""
        return tuple(step for step in self.steps if step.kind != "same")


def export(conn: Connection, folder: Path) -> Exported:
    """Write every published rule that was not deleted into `folder`, which is made if need be."""
    texts = files(rule.definition for rule in rules_engine.listing(conn))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Permanent(f"{folder} cannot be written: {error}.") from error
    strangers = (path.name for path in _rule_files(folder) if path.name not in texts)
    return Exported(tuple(texts), tuple(strangers))


def files(said: Iterable[Definition]) -> dict[str, str]:
    """Return the text of each rule's file by the file's name; the same rules always give the same files."""
    made: dict[str, str] = {}
    for rule in sorted(said, key=lambda rule: rule.name):
        slug = slug_of(rule.name)
        names = (f"{slug}{suffix}.json" for suffix in chain([""], (f"-{number}" for number in count(2))))
        name = next(name for name in names if name not in made)
        made[name] = json.dumps(definition.wire(rule), indent=2, ensure_ascii=False) + "\n"
    return made


def slug_of(name: str) -> str:
    """Return a rule's name as the name of a file: letters and digits of any script, with dashes between the words."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", name.casefold()))
    return "-".join(words)[:_LONGEST_SLUG].strip("-") or "rule"


def read(folder: Path) -> dict[str, Definition]:
    """Return the rule of each file of `folder` by the file's name.

    Raises `Invalid` that names every wrong file, with the field and how to mend it.
    """
    found: dict[str, Definition] = {}
    wrong: list[str] = []
    for path in _rule_files(folder):
        try:
            found[path.name] = definition.read(_body(path))
        except Invalid as error:
            wrong.append(f"{path.name}: {error}")
    wrong += _named_twice(found)
    if wrong:
        raise Invalid("\n".join(["Nothing was applied. Mend first:", *wrong]), code="bad_rule_file")
    if not found:
        raise Invalid(f"There is no file of a rule (*.json) in {folder}.", code="bad_rule_file")
    return found


def plan(conn: Connection, said: Mapping[str, Definition]) -> Plan:
    """Compare the rules of files (by the file's name) with those of the installation. Changes nothing."""
    standing = {rule.definition.name: rule for rule in rules_engine.listing(conn)}
    drafts = dict(conn.execute(_DRAFTS_ONLY).all())
    steps = tuple(_step(file, rule, standing.get(rule.name), drafts.get(rule.name)) for file, rule in said.items())
    return Plan(steps, tuple(sorted(standing.keys() - {rule.name for rule in said.values()})))


def apply(conn: Connection, planned: Plan, *, actor: str, now: datetime) -> int:
    """Publish what a plan changes; return how many rules that is.

    Raises `Conflict` that names the file when its rule was published, deleted or made since the plan: roll back then.
    """
    for step in planned.to_publish:
        try:
            _publish(conn, step, actor=actor, now=now)
        except Conflict as error:
            raise Conflict(f"{step.file}: {error} Nothing was published.", current=error.current) from error
    return len(planned.to_publish)


def _publish(conn: Connection, step: Step, *, actor: str, now: datetime) -> None:
    if step.rule_id is None:
        rules_engine.create(conn, step.rule, actor=actor, now=now)
    else:
        rules_engine.publish(conn, step.rule_id, step.rule, actor=actor, now=now, seen_version=step.version)


def _step(file: str, rule: Definition, standing: Rule | None, draft: UUID | None) -> Step:
    if standing is None:
        return Step(file, rule, draft, 0, ())
    if rule == standing.definition:
        return Step(file, rule, standing.id, standing.version, ())
    changed = changes(definition.wire(standing.definition), definition.wire(rule))
    return Step(file, rule, standing.id, standing.version, tuple(changed))


def _rule_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.is_file())


def _body(path: Path) -> Mapping[str, object]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Invalid(f"cannot be read as JSON: {error}.") from error
    if not isinstance(said, dict):
        raise Invalid("must hold one rule, a JSON object.")
    return said


def _named_twice(found: Mapping[str, Definition]) -> Iterator[str]:
    first: dict[str, str] = {}
    for file, rule in found.items():
        if rule.name in first:
            yield f"{file}: `name` is {rule.name!r} as in {first[rule.name]}; give one of them another name."
        first.setdefault(rule.name, file)
