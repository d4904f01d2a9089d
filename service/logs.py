"""JSON logs, one object per line, with the ids of the request and of the trace that they belong to."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson
from opentelemetry.trace import format_trace_id, get_current_span

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the request that the current task serves."""

# What a record has of its own; anything else was passed as ``extra``.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record and its ``extra`` as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Serialise one record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        span = get_current_span().get_span_context()  # has ended where the answer is out
        if span.is_valid:
            line["trace_id"] = format_trace_id(span.trace_id)
        line |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # half of a surrogate pair, a number of more than 64 bits
            return json.dumps(line, default=str)


def configure(level: str) -> None:
    """Send the process's logs to stderr as JSON.

    Args:
        level: least severe level that is written, as in ``ServiceSettings.log_level``.
    """
    # Who called, and in which thread and process, stands in no line, and costs time to find out.
    logging._srcfile = None  # by the logging HOWTO, "Optimization"
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Its "unknown feature" warnings are met at start; per request they would repeat.
    logging.getLogger("growthbook").setLevel(logging.ERROR)
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
