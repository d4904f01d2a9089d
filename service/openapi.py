"""The OpenAPI document, with the limits and the attributes of what is loaded."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service import examples
from service.access import FORCED_BY, SEARCH_SCHEME
from service.keys import KeySet, Scope
from service.limits import VISIBLE, Limits
from service.problems import MEDIA_TYPE
from service.schemas import MAX_FILTERS


def describe(app: FastAPI, limits: Limits, keys: KeySet) -> dict[str, Any]:
    """Generate the document of a service.

    FastAPI's own knows the types; what the settings and bundles decide is added here, so that a client
    generated from it, or a fuzzer, knows what will be refused.
    """
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        routes=app.routes,
        separate_input_output_schemas=False,
    )
    _mark_problems(document)
    if not keys.asks_for(Scope.SEARCH):
        _open_search(document)
    schemas = document["components"]["schemas"]
    for name, example in examples.BODIES.items():
        schemas[name]["examples"] = [example]
    search = schemas["SearchRequest"]["properties"]
    search["query"] |= {"minLength": 1, "maxLength": limits.max_query_chars, "pattern": VISIBLE.pattern}
    _bound(search["k"], limits.max_k, limits.default_k)
    _bound(search["beam_width"], limits.max_beam_width, None)
    _bound(search["timeout_ms"], limits.max_timeout_ms, limits.timeout_ms)
    schemas["BatchRequest"]["properties"]["searches"] |= {"minItems": 1, "maxItems": limits.max_searches}
    search["filters"] |= {"anyOf": [_filters(limits), {"type": "null"}]}
    _name_variants(document, list(limits.catalogue.offer.snapshots))
    return document


def _mark_problems(document: dict[str, Any]) -> None:
    """Give error responses the media type and examples of problem documents; drop FastAPI's own schema."""
    for path in document["paths"].values():
        for operation in path.values():
            for code, response in operation["responses"].items():
                if int(code) >= 400:
                    content = response["content"]["application/json"]
                    content["examples"] = {
                        each["type"].rpartition(":")[2]: {"value": each} for each in examples.PROBLEMS[code]
                    }
                    response["content"] = {MEDIA_TYPE: content}
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _open_search(document: dict[str, Any]) -> None:
    """Say that no key is needed where search keys would be."""
    for path in document["paths"].values():
        for operation in path.values():
            if {SEARCH_SCHEME.scheme_name: []} in operation.get("security", []):
                operation["security"].append({})


def _bound(field: dict[str, Any], highest: int, default: int | None) -> None:
    """Bound an optional integer from 1 to ``highest``."""
    integer = next(choice for choice in field["anyOf"] if choice["type"] == "integer")
    integer |= {"minimum": 1, "maximum": highest}
    if default is not None:
        integer["default"] = default


def _name_variants(document: dict[str, Any], variants: list[str]) -> None:
    """Say which variants there are where one may be chosen."""
    choices = {"anyOf": [{"type": "string", "enum": variants}, {"type": "null"}]}
    document["components"]["schemas"]["TitlesRequest"]["properties"]["variant"] |= choices
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] in ("variant", FORCED_BY) and parameter["in"] != "path":
                    parameter["schema"] = {"type": "string", "enum": variants}


def _filters(limits: Limits) -> dict[str, Any]:
    """Schema of the filters that every variant understands."""
    properties = {name: column.schema for name, column in limits.columns.items()}
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "maxProperties": MAX_FILTERS,
    }
