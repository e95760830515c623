"""The target `slipway` of `mlflow deployments`: registered versions on TensorFlow Serving, ours or the real one.

MLflow finds one client class here, `run_local` and `target_help`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlflow.deployments import BaseDeploymentClient

from pipeline.plugin.errors import as_mlflow

if TYPE_CHECKING:
    from mlflow.deployments import PredictionsResponse

    from pipeline.plugin.deployments import Deployments

_HELP = """\
Registered versions of Slipway on TensorFlow Serving: the embedded model server, or tensorflow_model_server.

Target URI
  slipway                          the servers and the base path of the configuration
  slipway:grpc://HOST:8500         that server, or several with commas between, instead of the configured ones
  slipway:http://HOST:8501         predictions are asked there, over REST; the rest of the configured servers

Configuration, as -C NAME=VALUE of create, update and run-local, or SLIPWAY_DEPLOYMENTS_NAME in the environment
  config           a configuration file (YAML); what follows stands above it
  base             the model base path that the servers read  [default: serving_base]
  s3_endpoint      S3 server's address, for a base path in S3 elsewhere than at Amazon
  servers          their gRPC addresses, with commas between  [default: grpc://127.0.0.1:8500]
  load_timeout_s   seconds that a server may take to load a version  [default: 300]
  reason           why, for the ledger (create, update, delete)
  force            true: promote although the gate refused; needs a reason (create, update)
  rest_port, grpc_port, runtime    of run-local  [default: 8501, 8500, tensorflow]

Model URI
  models:/NAME@ALIAS, models:/NAME/VERSION or models:/NAME/STAGE: a version that `slipway register` made

A deployment with the registered model's own name is its champion: create and update promote the version, which needs a
gate report that passes, and servers follow the alias from then on. One with another name is that version alone, until
it is updated. Either way the bytes are verified, the version is loaded beside what is live and answers its golden
requests, and only then it is live; else what was live stays. delete takes a deployment from the servers (of a
registered model, the alias champion too); published bytes stay.

predict takes a table with one column: input (pixels, [height, width, 3] numbers from 0 to 255 a row) or image_bytes
(encoded images, in base64).
"""


class SlipwayClient(BaseDeploymentClient):  # type: ignore[misc]
    """See `target_help`. Every error is an MlflowException."""

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Serve the version that `model_uri` names as `name`; returns when it answers. Fails if `name` is there."""
        with as_mlflow(flavor, endpoint):
            return self._deployments(config).create(name, model_uri)

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Serve another version as `name`, without a failed request; returns when it answers."""
        with as_mlflow(flavor, endpoint):
            return self._deployments(config).update(name, model_uri)

    def delete_deployment(
        self, name: str, config: Mapping[str, Any] | None = None, endpoint: str | None = None
    ) -> None:
        """Take `name` from the servers; published bytes stay. Fails if it is not there."""
        with as_mlflow(None, endpoint):
            self._deployments(config).delete(name)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Name, flavor, model URI and live version of each."""
        with as_mlflow(None, endpoint):
            return self._deployments(None).all()

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """The same of one, and what each server says of it."""
        with as_mlflow(None, endpoint):
            return self._deployments(None).get(name)

    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> "PredictionsResponse":
        """Ask `deployment_name` about a DataFrame, or what can be one, with the column `input` or `image_bytes`."""
        from mlflow.deployments import PredictionsResponse

        from pipeline.plugin.asking import ask
        from pipeline.plugin.inputs import read_inputs
        from pipeline.plugin.settings import read_settings
        from slipway.errors import InputError

        with as_mlflow(None, endpoint):
            if not deployment_name:
                raise InputError("predict: no deployment is named. Pass --name NAME.")
            rows = ask(read_settings(self.target_uri, {}), deployment_name, read_inputs(inputs))
            return PredictionsResponse(predictions=rows)

    def _deployments(self, options: Mapping[str, Any] | None) -> "Deployments":
        from pipeline.plugin.deployments import Deployments
        from pipeline.plugin.settings import read_settings

        return Deployments(read_settings(self.target_uri, options or {}))


def run_local(name: str, model_uri: str, flavor: str | None = None, config: Mapping[str, Any] | None = None) -> None:
    """Serve a version in the foreground from a base path of its own, until stopped; for a try."""
    with as_mlflow(flavor, None):
        from pipeline.plugin.local import serve_alone
        from pipeline.plugin.settings import read_settings

        serve_alone(read_settings("slipway", config or {}), name, model_uri)


def target_help() -> str:
    """What `mlflow deployments help -t slipway` prints."""
    return _HELP
