"""A search API whose speed is known: so many requests at a time, each for so long, and stalls.

Prints its port, then serves. A request takes the whole of its time, however busy the machine is, so the rate
cannot be above places / time.
"""

import argparse
import asyncio
import json

from aiohttp import web

ITEMS = [{"item_id": f"item-{n}", "attributes": {"brand": "Arrow", "price": 9.5 + n}} for n in range(5)]
ANSWER = {"request_id": "r", "variant": "sft", "degraded": [], "items": ITEMS}
BODIES = {
    "/v1/search": json.dumps(ANSWER).encode(),
    "/v1/search/batch": json.dumps({"results": [ANSWER]}).encode(),
    "/v1/events": b"{}",
}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--places", type=int, default=1000)
    parser.add_argument("--service-ms", type=float, default=0.0)
    parser.add_argument("--stall-ms", type=float, default=0.0)
    parser.add_argument("--every-ms", type=float, default=1000.0)
    options = parser.parse_args()
    places, loop = asyncio.Semaphore(options.places), asyncio.get_running_loop()

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        async with places:
            await asyncio.sleep(options.service_ms / 1000)
        into_period_ms = loop.time() * 1000 % options.every_ms
        if into_period_ms < options.stall_ms:
            await asyncio.sleep((options.stall_ms - into_period_ms) / 1000)
        return web.Response(body=BODIES[request.path], content_type="application/json")

    app = web.Application()
    app.add_routes([web.post(path, answer) for path in BODIES])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
