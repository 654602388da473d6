"""A provider that takes every letter, as Resend answers, after a while: `python -m bench.slow_provider PORT SECONDS`.

It does as little as HTTP allows, so that not it is what is measured.
"""

import asyncio
import sys
from functools import partial
from uuid import uuid4


async def serve(port: int, seconds: float) -> None:
    """Answer on this machine until the process ends."""
    server = await asyncio.start_server(partial(_converse, seconds=seconds), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, seconds: float) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            await asyncio.sleep(seconds)
            body = b'{"id":"%s"}' % str(uuid4()).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
