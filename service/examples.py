"""Examples for the OpenAPI document: of each body that is asked for or answered, and of each problem."""

from typing import Any

from service.admin_schemas import EXAMPLE as STATE
from service.browse_schemas import EXAMPLES as CATALOGUE
from service.problems import document
from service.schemas import FieldProblem

REQUEST_ID = "3f6c1c5be0c44b3c9d0a6c1d2f1f7a90"

SEARCH = {
    "query": "red running shoes",
    "k": 2,
    "user_id": "shopper-17",
    "ordering": {"tau": 2.0},
    "timeout_ms": 500,
}
ITEM = {
    "item_id": "B07X",
    "score": 0.8123,
    "sid": [17, 203, 5],
    "title": "Red running shoes",
    "attributes": {"category": "shoes", "price": 59.9, "in_stock": True},
}
ANSWER = {
    "request_id": REQUEST_ID,
    "items": [ITEM],
    "requested": 2,
    "returned": 1,
    "exhausted": True,
    "degraded": [],
    "cached": False,
    "variant": "live",
    "model": "rad-dpo",
    "epoch": "be81ebc36134",
    "timings_ms": {"tokenize": 0.08, "queue": 0.31, "decode": 5.2, "items": 0.6, "total": 6.4},
    "explanation": None,
}
EVENT = {
    "request_id": REQUEST_ID,
    "type": "purchase",
    "item_id": "B07X",
    "user_id": "shopper-17",
    "quantity": 1,
    "price": 59.9,
    "event_id": "8d0f7e9a-3f4e-4a57-9f57-1f0d3f3c2b1a",
}
FEATURE = {
    "defaultValue": "live",
    "rules": [{"key": "ab", "variations": ["live", "next"], "weights": [0.9, 0.1], "coverage": 1.0}],
}
MODEL = {
    "variant": "live",
    "model": "rad-dpo",
    "created": "2026-11-30T04:12:00+00:00",
    "revision": "776295d",
    "epoch": "be81ebc36134",
    "items": 19_406,
    "sids": 18_920,
    "fill": 0.98,
    "codebook_sizes": [256, 256, 256],
    "beam_widths": [32, 128],
    "provider": "CPUExecutionProvider",
    "precisions": ["int8", "int8"],
    "ordering": {"tau": 1.0, "prior": 0.1, "words": 0.3, "trigrams": 0.05, "embedding": 0.4},
    "metrics": {"item_recall@10": 0.44},
    "attributes": [{"name": "price", "holds": "numbers"}],
}


def problem(status: int, kind: str, detail: str, pointer: str | None = None) -> dict[str, Any]:
    """A problem document, which blames a part of the request where one is given."""
    if pointer is None:
        return document(status, kind, detail, REQUEST_ID).model_dump(exclude_defaults=True)
    errors = [FieldProblem(pointer=pointer, detail=detail)]
    return document(status, kind, f"{pointer}: {detail}", REQUEST_ID, errors).model_dump()


PROBLEMS: dict[str, list[dict[str, Any]]] = {
    "400": [problem(400, "malformed-json", "the body is not JSON: Expecting value")],
    "401": [problem(401, "unauthorized", "the key is unknown or revoked")],
    "403": [problem(403, "forbidden", "the key has the scope search, and this needs admin")],
    "408": [problem(408, "request-timeout", "the body did not arrive within 10 s")],
    "409": [problem(409, "conflict", "variant 'next' gets traffic; shift it away first")],
    "413": [
        problem(
            413,
            "body-too-large",
            "the body is larger than 65,536 bytes; send less at once",
        )
    ],
    "415": [
        problem(
            415,
            "unsupported-media-type",
            "the body is text/plain, send application/json",
        )
    ],
    "422": [problem(422, "invalid-request", "is 500, must be from 1 to 100", "/k")],
    "429": [
        problem(429, "overloaded", "512 searches wait already; try again in a moment"),
        problem(429, "rate-limited", "this key may search 50 times a second"),
    ],
    "503": [
        problem(
            503,
            "unavailable",
            "the event log cannot be written; send the event again later",
        )
    ],
    "504": [problem(504, "deadline-exceeded", "no answer within 500 ms; allow more or try again")],
}
"""By status; one of each kind that comes with it."""

BODIES: dict[str, dict[str, Any]] = {
    "SearchRequest": SEARCH,
    "SearchResponse": ANSWER,
    "BatchRequest": {"searches": [SEARCH, {"query": "wool hat"}]},
    "BatchResponse": {"request_id": REQUEST_ID, "results": [ANSWER, PROBLEMS["504"][0]]},
    "EventRequest": EVENT,
    "EventResponse": {"request_id": REQUEST_ID},
    "ModelsResponse": {"models": [MODEL], "examples": ["red running shoes", "wool hat"]},
    "ExperimentsResponse": {
        "variants": ["live", "next"],
        "default": "live",
        "experiments": [
            {
                "key": "ab",
                "feature": "variant",
                "variations": ["live", "next"],
                "shares": [0.9, 0.1],
                "coverage": 1.0,
                "namespaces": [],
                "condition": None,
                "hash_attribute": "id",
                "not_loaded": [],
            }
        ],
        "features": {"variant": FEATURE},
        "problem": "",
    },
    "Status": {"status": "ready"},
    "Problem": PROBLEMS["422"][0],
    "BundleRequest": {"bundle": "2026-12-01"},
    "TrafficRequest": {"shares": {"live": 0.9, "next": 0.1}},
    "ItemsRequest": {
        "items": [{"item_id": "B07X", "title": "Red running shoes", "attributes": {"price": 59.9}}]
    },
    "ItemIdsRequest": {"item_ids": ["B07X", "B08Y"]},
    "StateResponse": STATE,
    **CATALOGUE,
    "RelistResponse": STATE | {"unknown": ["B08Y"]},
}
"""By name of the schema."""
