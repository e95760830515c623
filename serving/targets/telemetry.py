"""What a server is asked to show of its work: metrics, a log for programs, traces."""

from dataclasses import dataclass
from pathlib import Path

from serving.model_server.flags import LOG_FORMATS
from slipway.errors import InputError


@dataclass(frozen=True)
class Telemetry:
    """What is asked for; nothing by itself.

    monitoring_config: a file MonitoringConfig, as text: where on the REST port metrics are. log_format: of the server's
    own log. trace_endpoint: collector that gets spans, of the share `trace_sample` of predictions, 0 to 1.
    """

    monitoring_config: Path | None = None
    log_format: str = ""
    trace_endpoint: str = ""
    trace_sample: float | None = None

    def __post_init__(self) -> None:
        if self.log_format and self.log_format not in LOG_FORMATS:
            raise InputError(
                f"--log-format {self.log_format}: expected one of {', '.join(LOG_FORMATS)}. Pass one of these."
            )
        if self.trace_sample is not None and not 0 <= self.trace_sample <= 1:
            raise InputError(f"--trace-sample {self.trace_sample:g}: expected a share from 0 to 1. Pass another one.")
        if self.trace_sample is not None and not self.trace_endpoint:
            raise InputError("--trace-sample needs --trace-endpoint; expected the collector's address. Pass it.")

    def flags(self, target: str, *known: str) -> tuple[str, ...]:
        """The server's flags for it; InputError if the target has not those `known` that it takes.

        The value is not in the error: an address may hold a password.
        """
        asked = {
            "monitoring_config_file": ("--metrics", self.monitoring_config),
            "log_format": ("--log-format", self.log_format),
            "trace_endpoint": ("--trace-endpoint", self.trace_endpoint),
            "trace_sample": ("--trace-sample", self.trace_sample),
        }
        given = {flag: value for flag, (_, value) in asked.items() if value not in {None, ""}}
        for flag in given:
            if flag not in known:
                raise InputError(
                    f"{asked[flag][0]}: target {target} has none. Use --target embedded, or leave {asked[flag][0]} out."
                )
        return tuple(f"--{flag}={value}" for flag, value in given.items())
