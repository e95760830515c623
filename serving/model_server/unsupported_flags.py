"""TensorFlow Serving's flags that cannot mean anything here: each says why, and what to use instead.

One that says what this server does anyway (`--enable_profiler=false`) is taken: nothing of it is left undone.
"""

from typing import NamedTuple

from slipway.errors import InputError


class Unsupported(NamedTuple):
    """`same_as_here` is the value that describes this server; any other is refused with the reason."""

    same_as_here: str | bool
    reason: str
    instead: str

    def check(self, name: str, value: str | float | bool) -> None:
        """InputError unless the value says what this server does anyway."""
        if value != self.same_as_here and not (self.same_as_here == "0" and _is_zero(value)):
            raise InputError(f"--{name}: not supported: {self.reason}. {self.instead}")


def _is_zero(value: object) -> bool:
    try:
        return float(str(value)) == 0
    except ValueError:
        return False


_NO_CONFIG_PROTO = "TensorFlow's sessions are made by this server, which takes no ConfigProto"
_CPU = "this server runs models on the CPU"

UNSUPPORTED = {
    "platform_config_file": Unsupported(
        "", "platforms are chosen by model_platform and --runtime", "Write model_platform into --model_config_file."
    ),
    "tensorflow_session_config_file": Unsupported(
        "", _NO_CONFIG_PROTO, "Use --tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism."
    ),
    "thread_pool_factory_config_file": Unsupported(
        "", "a runtime's threads are its own", "Use --tensorflow_intra_op_parallelism."
    ),
    "per_process_gpu_memory_fraction": Unsupported("0", _CPU, "Leave it out."),
    "mixed_precision": Unsupported(
        "", "a precision is a variant of the servable, measured before it is published", "Use --runtime=auto."
    ),
    "xla_gpu_compilation_enabled": Unsupported(False, _CPU, "Leave it out."),
    "xla_cpu_compilation_enabled": Unsupported(
        True, "a graph that asks for XLA is compiled by it, and there is no switch", "Leave it out."
    ),
    "skip_initialize_tpu": Unsupported(True, _CPU, "Leave it out."),
    "use_alts_credentials": Unsupported(
        False, "ALTS is Google Cloud's own handshake, which grpcio does not serve", "Use --ssl_config_file."
    ),
    "enable_profiler": Unsupported(
        False, "there is no profiler service", "Profile the process, by py-spy or perf, or scrape its metrics."
    ),
    "remove_unused_fields_from_bundle_metagraph": Unsupported(
        True, "nothing but the signatures is kept of a MetaGraphDef", "Leave it out."
    ),
    "num_tflite_pools": Unsupported(
        "0", "the litert runtime has an interpreter for each core, at most four", "Leave it out."
    ),
    "num_tflite_interpreters_per_pool": Unsupported(
        "0", "the litert runtime has an interpreter for each core, at most four", "Leave it out."
    ),
}
