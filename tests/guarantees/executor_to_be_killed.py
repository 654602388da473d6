"""An executor in a process of its own that can be told to die or to stop at a named line."""

import os
import signal
import sys

from oracle_lib.execute import executor
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store


def main(url: str, owner: str, at: str, how: str) -> None:
    """Send what is due. `at` is the step (or `never`) at which `how`, kill or stop, strikes the first time."""
    left = [at]

    def step(name: str) -> None:
        if name in left:
            left.clear()
            print(name, flush=True)
            os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGSTOP)

    store = Store(url)
    print("ready", flush=True)
    report = executor.run_due(store, settings=Settings(environment="test"), owner=owner, limit=20, step=step)
    print(f"executed={report.executed} dropped={report.dropped}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
