"""MLflow's failures in our words: found within seconds, on one line, without credentials."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from slipway.credentials import without_credentials
from slipway.errors import InputError, NotFoundError, SlipwayError, UnavailableError

_PROBE_S = 5
_REMEDY = "Start it, or set MLFLOW_TRACKING_URI to one that runs."
_BUSY = "Others write to it: repeat the command, or keep what is recorded in PostgreSQL, which many may write to."
_DENIED = re.compile(r"failed with error code (401|403)\b")
_LOGIN = {
    "401": "the server refuses the login, or there is none. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
    "403": "the login is right, and is not permitted to do this. Ask the server's administrator for the permission.",
}
# Of botocore's exceptions, and of the codes of an S3 answer, those that name a wrong login or none.
_S3_LOGIN = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "403",
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
}
_BY_CODE: dict[str, type[SlipwayError]] = {
    "RESOURCE_DOES_NOT_EXIST": NotFoundError,
    "NOT_FOUND": NotFoundError,
    "INVALID_PARAMETER_VALUE": InputError,
    "BAD_REQUEST": InputError,
    "TEMPORARILY_UNAVAILABLE": UnavailableError,
    "REQUEST_LIMIT_EXCEEDED": UnavailableError,
    "ENDPOINT_NOT_FOUND": InputError,
}


def check_reachable(tracking_uri: str) -> None:
    """Return if the store behind `tracking_uri` answers, else raise UnavailableError within about five seconds.

    MLflow's own patience is minutes for an address (seven retries) and a hundred seconds for a database file in a
    folder that cannot be written. That serves a run in progress, but not a mistyped address.
    """
    scheme = urlsplit(tracking_uri).scheme
    if scheme in {"http", "https"}:
        _probe_server(tracking_uri)
    elif scheme.startswith("sqlite"):
        _probe_sqlite(tracking_uri)
    elif scheme.split("+")[0] in {"postgresql", "mysql", "mssql"}:
        _probe_database(tracking_uri)


def _probe_server(tracking_uri: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        creds = get_default_host_creds(tracking_uri)
        response = http_request(creds, "/health", "GET", max_retries=0, timeout=_PROBE_S, raise_on_status=False)
    except MlflowException as exc:
        raise UnavailableError(
            f"tracking server {without_credentials(tracking_uri)}: expected an answer within {_PROBE_S} s and got none "
            f"({_root_cause(exc)}). {_REMEDY}"
        ) from exc
    if response.status_code >= 500 or response.status_code == 404:
        kind = "is not MLflow's" if response.status_code == 404 else "is not ready"
        raise UnavailableError(
            f"tracking server {without_credentials(tracking_uri)}: {kind}, "
            f"it answered HTTP {response.status_code} to /health. {_REMEDY}"
        )


def _probe_sqlite(tracking_uri: str) -> None:
    import sqlite3

    from sqlalchemy.engine import make_url

    database = make_url(tracking_uri).database
    if not database or database == ":memory:":
        return
    path = Path(database)
    ancestor = path if path.exists() else next(parent for parent in path.absolute().parents if parent.exists())
    if not os.access(ancestor, os.W_OK):
        raise UnavailableError(
            f"tracking database {path}: {ancestor} cannot be written. "
            "Change its permissions, or set MLFLOW_TRACKING_URI to another one."
        )
    if path.exists():
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=_PROBE_S)) as connection:
                connection.execute("PRAGMA schema_version")
        except sqlite3.Error as exc:
            raise UnavailableError(
                f"tracking database {path}: expected an SQLite file ({exc}). "
                "Move it away, or set MLFLOW_TRACKING_URI to another one."
            ) from exc


def _probe_database(tracking_uri: str) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    timeout = {} if tracking_uri.startswith("mssql") else {"connect_timeout": _PROBE_S}
    try:
        engine = create_engine(tracking_uri, connect_args=timeout)
        with engine.connect():
            pass
        engine.dispose()
    except (SQLAlchemyError, ImportError) as exc:
        raise UnavailableError(
            f"tracking database {without_credentials(tracking_uri)}: no connection ({_root_cause(exc)}). {_REMEDY}"
        ) from exc


def _root_cause(exc: BaseException) -> str:
    while exc.__cause__ is not None:
        exc = exc.__cause__
    text = without_credentials(str(exc)).rstrip(".")
    return text if len(text) <= 200 else f"{text[:200]}..."


@contextlib.contextmanager
def mlflow_errors(place: str) -> Iterator[None]:
    """Turn what MLflow, its database or its artifact store raises into a SlipwayError that names `place`."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as exc:
        denied = _DENIED.search(str(exc))
        if denied:
            raise InputError(f"{without_credentials(place)}: {_LOGIN[denied[1]]}") from exc
        no_answer = str(exc).startswith("API request to") and "failed with exception" in str(exc)
        kind = UnavailableError if no_answer else _BY_CODE.get(exc.error_code, SlipwayError)
        raise kind(f"{without_credentials(place)}: {_root_cause(exc)}.{_remedy(kind, exc)}") from exc
    except (SQLAlchemyError, OSError) as exc:
        raise UnavailableError(
            f"{without_credentials(place)}: {type(exc).__name__}: {_root_cause(exc)}. "
            "Check that the store can be read and written, then repeat the command."
        ) from exc
    except _s3_exceptions() as exc:
        raise _of_s3(place, exc) from exc


def _s3_exceptions() -> tuple[type[Exception], ...]:
    """What boto3 raises; it is not imported for this: where nobody has, there is none of it to catch."""
    boto3, botocore = sys.modules.get("boto3.exceptions"), sys.modules.get("botocore.exceptions")
    ours = () if boto3 is None else (boto3.Boto3Error,)
    return ours if botocore is None else (*ours, botocore.BotoCoreError, botocore.ClientError)


def _of_s3(place: str, exc: Exception) -> SlipwayError:
    code = str(getattr(exc, "response", {}).get("Error", {}).get("Code", ""))
    text = f"{without_credentials(place)}: S3 artifact store: {type(exc).__name__}: {_root_cause(exc)}"
    if _S3_LOGIN & {type(exc).__name__, code}:
        return InputError(
            f"{text}. Expected credentials that may use the bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or AWS_PROFILE."
        )
    return UnavailableError(
        f"{text}. Expected an answer of S3: check MLFLOW_S3_ENDPOINT_URL, AWS_DEFAULT_REGION and the network, then "
        "repeat the command."
    )


def _remedy(kind: type[SlipwayError], exc: Exception) -> str:
    if kind is not UnavailableError:
        return ""
    return f" {_BUSY if 'database is locked' in str(exc) else _REMEDY}"
