"""The least that is as durable: aiohttp and an idempotent aiokafka producer with acks=all, nothing checked.

`python -m tests.bench.bare_ingress PORT BOOTSTRAP TOPIC`
"""

import asyncio
import sys

from aiohttp import web
from aiokafka import AIOKafkaProducer


async def serve(port: int, bootstrap: str, topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all")
    await producer.start()

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        await producer.send_and_wait(topic, body, key=b"user")
        return web.json_response({"success": True})

    app = web.Application()
    app.router.add_post("/webhook/u/{token}", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=2048).start()
    print("started", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), *sys.argv[2:]))
