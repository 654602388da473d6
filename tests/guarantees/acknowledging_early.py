"""The control of G1: a receiver that answers first and stores a little later, as many collectors do."""

import json
import sys
import threading
import time

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from oracle_lib import clock
from oracle_lib.observe.batch import Door
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.wire import Limits
from oracle_lib.storage.engine import Store


def main(url: str, port: int) -> None:
    """Serve until killed."""
    store, kept = Store(url), list[bytes]()
    door = Door(source="control", limits=Limits(currency="USD"))

    async def take(request: Request) -> JSONResponse:
        events = await request.json()
        kept.extend(json.dumps(one).encode() for one in events)
        return JSONResponse({"accepted": len(events), "duplicate": 0}, status_code=202)

    def flush() -> None:
        while True:
            time.sleep(0.2)
            batch, kept[:] = kept[:], []
            with store.transaction() as conn:
                ingest(conn, batch, door=door, received_at=clock.now())

    threading.Thread(target=flush, daemon=True).start()
    app = Starlette(routes=[Route("/api/oracle/events/batch", take, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
