"""The door by which a caller's events come in: who sends, what is accepted, what was agreed on, and who watches."""

from dataclasses import dataclass

from oracle_lib.access import Caller
from oracle_lib.observe.batch import Door
from oracle_lib.observe.tail import Tail
from oracle_lib.observe.tracking_plan import Plan
from oracle_lib.observe.wire import Limits


@dataclass(frozen=True)
class Doors:
    """What holds for every door at this moment."""

    currency: str
    plan: Plan
    tails: tuple[Tail, ...]

    def of(self, caller: Caller) -> Door:
        """Return the door of a caller."""
        watching = tuple(one.id for one in self.tails if one.watches(caller.source, caller.id))
        return Door(source=caller.source, limits=Limits(self.currency), plan=self.plan, tails=watching)
