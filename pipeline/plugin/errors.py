"""Our errors as MLflow's: an MlflowException to who calls the client, one line to who types `mlflow deployments`."""

import contextlib
from collections.abc import Iterator

import click
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_CONFLICT,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)

from registry.mlflow_calls import without_progress_bars
from slipway.errors import ConflictError, InputError, NotFoundError, SlipwayError, UnavailableError

_FLAVOR = "slipway"
_CODES = (
    (NotFoundError, RESOURCE_DOES_NOT_EXIST),
    (InputError, INVALID_PARAMETER_VALUE),
    (ConflictError, RESOURCE_CONFLICT),
    (UnavailableError, TEMPORARILY_UNAVAILABLE),
)


class DeploymentError(MlflowException, click.ClickException):  # type: ignore[misc]
    """MLflow's command line prints a traceback for an MlflowException, and `Error: ...` for click's."""

    def __init__(self, message: str, error_code: int) -> None:
        click.ClickException.__init__(self, message)
        MlflowException.__init__(self, message, error_code)


class AlreadyExistsError(InputError):
    """A deployment of that name is there."""


@contextlib.contextmanager
def as_mlflow(flavor: str | None, endpoint: str | None) -> Iterator[None]:
    """Turn every error of ours that leaves the block into a DeploymentError with MLflow's code for it.

    A flavor or an endpoint that was asked for is such an error: there is one flavor, and no endpoints.
    """
    try:
        if flavor not in {None, "", _FLAVOR}:
            raise InputError(f"flavor {flavor!r}: servables are served, of the flavor {_FLAVOR!r}. Leave --flavor out.")
        if endpoint:
            raise InputError(f"endpoint {endpoint!r}: this target has deployments alone. Pass --name, no --endpoint.")
        with without_progress_bars():
            yield
    except AlreadyExistsError as error:
        raise DeploymentError(str(error), RESOURCE_ALREADY_EXISTS) from error
    except SlipwayError as error:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), INTERNAL_ERROR)
        raise DeploymentError(str(error), code) from error
