"""A real HTTP server with the shape of the search API, for load tests: prints its port, then serves.

The query decides what happens: "refuse" is answered with 429, "no items" with a 200 that lacks them,
"garbage" with text that is not JSON, "hang up" not at all. ``GET /received`` gives what was sent so far,
``GET /v1/models`` the attributes that filters may name: not the colour, which items have, too.
"""

import itertools
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ITEMS = [
    {
        "item_id": f"item-{n}",
        "score": -float(n),
        "sid": [n, 0, 0],
        "title": f"Item {n}",
        "attributes": {"brand": ("Arrow", "Bow")[n % 2], "price": 9.5 + n, "colour": "red"},
    }
    for n in range(20)
]
MODELS = {"models": [{"attributes": [{"name": "brand"}, {"name": "price"}]}]}
RECEIVED: list[dict[str, Any]] = []
NUMBERS = itertools.count()


def search_answer() -> dict[str, Any]:
    number = next(NUMBERS)
    return {
        "request_id": f"request-{number}",
        "variant": ("sft", "rad-dpo")[number % 2],
        "degraded": [] if number % 10 else ["redis"],
        "cached": False,
        "items": ITEMS,
        "requested": 20,
        "returned": 20,
        "exhausted": False,
        "model": "stub",
        "epoch": "1",
        "timings_ms": {"tokenize": 0.1, "queue": 0.1, "decode": 0.1, "items": 0.1, "total": 0.4},
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        answers: dict[str, Any] = {"/received": RECEIVED, "/v1/models": MODELS}
        self.answer(200, json.dumps(answers.get(self.path, {})).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Authorization")
        RECEIVED.append({"path": self.path, "body": body, "authorization": key})
        if self.path == "/v1/search/batch":
            results = [search_answer() for _ in body["searches"]]
            self.answer(200, json.dumps({"request_id": "batch", "results": results}).encode())
        elif self.path == "/v1/events":
            self.answer(202, b'{"request_id": "event"}')
        else:
            self.search(body["query"])

    def search(self, query: str) -> None:
        if query == "refuse":
            self.answer(429, b'{"title": "Too Many Requests"}')
        elif query == "no items":
            self.answer(200, b'{"request_id": "r", "variant": "sft", "degraded": []}')
        elif query == "garbage":
            self.answer(200, b"<html>")
        elif query == "hang up":
            self.close_connection = True
        else:
            self.answer(200, json.dumps(search_answer()).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
