"""The embedded model server: our own process, TensorFlow Serving's flags and protocols."""

import sys

from serving.page_file import PAGE_FILE
from serving.targets import Addresses, Command, ServeSpec, tensorflow_serving
from serving.traffic import TRAFFIC_FILE

CONFIG_POLL_S = 0.1  # how often the server looks at its config files; they are small, and on its own disk
_LIVE = "stable"


class Embedded:
    """Serves the version labelled `stable` in `<base>/labels.config`, and follows that file while it runs.

    What goes to the canary instead is in `<base>/traffic.json`, which it follows, too.
    """

    def command(self, spec: ServeSpec) -> Command:
        """See Target."""
        return Command(
            (
                sys.executable,
                "-m",
                "serving.model_server",
                f"--host={spec.host}",
                f"--port={spec.grpc_port}",
                f"--rest_api_port={spec.rest_port}",
                f"--model_config_file={tensorflow_serving.config_file(spec, 'labels.config')}",
                f"--model_config_file_poll_wait_seconds={CONFIG_POLL_S}",
                f"--traffic_config_file={spec.base.absolute() / TRAFFIC_FILE}",
                f"--page_file={spec.base.absolute() / PAGE_FILE}",
                f"--default_label={_LIVE}",
                *spec.telemetry.flags(
                    "embedded", "monitoring_config_file", "log_format", "trace_endpoint", "trace_sample"
                ),
                *spec.extra_args,
            )
        )

    def addresses(self, spec: ServeSpec) -> Addresses:
        """See Target."""
        return tensorflow_serving.addresses(spec)

    def state(self, spec: ServeSpec) -> tuple[bool, str]:
        """See Target. The previous champion, loaded beside it, does not count."""
        return tensorflow_serving.state(spec, _LIVE)
