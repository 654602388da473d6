"""A product backend that does not give up: sends every event until it is answered, and keeps a log of the answers."""

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from queue import Empty, Queue

import httpx

RETRY_SECONDS = 0.05


@dataclass
class Log:
    """What was sent and what came of it: message ids answered with 2xx, and how often none was or another answer."""

    acknowledged: set[str] = field(default_factory=set)
    accepted: int = 0
    duplicate: int = 0
    unanswered: int = 0
    refused: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, ids: list[str], answer: httpx.Response | None) -> bool:
        """Keep one answer; say whether it was 2xx."""
        with self._lock:
            if answer is None:
                self.unanswered += 1
            elif answer.is_success:
                told = answer.json()
                self.acknowledged.update(ids)
                self.accepted += int(told["accepted"])
                self.duplicate += int(told["duplicate"])
                return True
            else:
                self.refused[answer.status_code] = self.refused.get(answer.status_code, 0) + 1
        return False


def event(number: int) -> dict[str, object]:
    return {"userId": f"u{number % 997}", "event": "lesson_complete", "messageId": f"m{number}", "source": "web"}


def deliver(
    address: str, key: str, numbers: Iterable[int], log: Log, *, batch: int, clients: int, until: float
) -> None:
    """Send the events of `numbers` in batches from several threads until each was answered with 2xx."""
    waiting = Queue[list[int]]()
    listed = list(numbers)
    for start in range(0, len(listed), batch):
        waiting.put(listed[start : start + batch])

    def work() -> None:
        with httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=5) as client:
            while True:
                try:
                    mine = waiting.get_nowait()
                except Empty:
                    return
                _insist(client, mine, log, until)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _insist(client: httpx.Client, numbers: list[int], log: Log, until: float) -> None:
    bodies = [event(number) for number in numbers]
    single = len(bodies) == 1
    path = "/api/oracle/events" if single else "/api/oracle/events/batch"
    content = json.dumps(bodies[0] if single else bodies)
    while time.monotonic() < until:
        try:
            answer = client.post(path, content=content)
        except httpx.HTTPError:
            answer = None
        if log.note([f"m{number}" for number in numbers], answer):
            return
        time.sleep(RETRY_SECONDS)
