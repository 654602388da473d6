"""A process that works a stage out and then waits inside its transaction, or between two, to be killed there."""

import sys
import time
from datetime import date

from oracle_lib.analyze import classifier, predictor
from oracle_lib.observe import activity
from oracle_lib.storage.engine import Store
from tests import world

STAGES = ("rollup", "refresh", "classify", "score")


def main(url: str, stage: str, as_of: date) -> None:
    """Run the stages before `stage` for good, then `stage` up to its commit, say so, and wait."""
    store = Store(url)
    calls = {
        "rollup": activity.rollup,
        "refresh": lambda conn: activity.refresh(conn, as_of),
        "classify": lambda conn: classifier.classify(conn, as_of, settings=world.SETTINGS, everyone=False),
        "score": lambda conn: predictor.score(conn, as_of, settings=world.SETTINGS, everyone=False),
    }
    for name in STAGES:
        with store.transaction() as conn:
            calls[name](conn)
            if name == stage:
                print("before commit", flush=True)
                time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], date.fromisoformat(sys.argv[3]))
