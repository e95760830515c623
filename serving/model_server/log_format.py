"""`--log_format`: the server's log as text, or a line of JSON an event, with the prediction that it belongs to."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

from serving.model_server.flags import JSON
from serving.model_server.request import Request, current_request

_TEXT = "%(asctime)s %(levelname)s %(message)s"


def start_logging(log_format: str) -> None:
    """Have the server's log go to standard error in that format, one of LOG_FORMATS."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == JSON else logging.Formatter(_TEXT))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("serving").setLevel(logging.INFO)


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, message, exception; request_id, model and version of a prediction's."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter. A record may bring its prediction as `extra={"prediction": ...}`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        prediction: Request | None = getattr(record, "prediction", None) or current_request()
        if prediction is not None:
            line |= _of(prediction, failed=bool(record.exc_info))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line).decode()
        except TypeError:  # a lone surrogate, as of a file name that is no UTF-8: JSON has an escape for it
            return json.dumps(line)


def _of(prediction: Request, *, failed: bool) -> dict[str, Any]:
    """What is known of it. Its id contains the version: it has none before that is known, or it has failed."""
    served = prediction.served
    known: dict[str, Any] = {"model": prediction.model or None}
    if served is not None:
        known["version"] = served.version
    if served is not None or failed:
        known["request_id"] = prediction.id
    return known
