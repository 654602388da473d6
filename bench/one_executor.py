"""One executor in a process of its own: says that it is ready, waits for a line, and sends what is due.

Then it says how many it sent and what that took of the processor, in seconds.
"""

import sys
import time

from oracle_lib import settings, stages
from oracle_lib.storage.engine import Store


def main(url: str, owner: str) -> None:
    """Send what is due, as the settings say."""
    store = Store(url)
    with store.transaction():
        print("ready", flush=True)
    sys.stdin.readline()
    began = time.process_time()
    sent = stages.deliver(store, settings.get(), owner).executed
    print(sent, time.process_time() - began, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
