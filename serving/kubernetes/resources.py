"""What containers ask of a node, from what was measured: docs/benchmarks/ has each figure."""

from typing import Any

from serving.kubernetes.spec import EMBEDDED, TENSORFLOW_SERVING

# Two cores: every figure of docs/benchmarks/serving.md was measured on two (openvino-int8: 74 JPEGs a second).
# Memory of the embedded server: 304 MB resident with openvino-int8, 440 MB after 20 swaps (docs/benchmarks/serving.md,
# "Start and memory" and "Version swaps"); TensorFlow's variant of a network of 515 MB needs some three times its bytes.
# TensorFlow Serving was not to be had for a measurement: it has what TensorFlow's variant has here.
SERVER: dict[str, dict[str, Any]] = {
    EMBEDDED: {
        "requests": {"cpu": "2", "memory": "512Mi"},
        "limits": {"cpu": "2", "memory": "2Gi"},
    },
    TENSORFLOW_SERVING: {
        "requests": {"cpu": "2", "memory": "1Gi"},
        "limits": {"cpu": "2", "memory": "2Gi"},
    },
}
# The sidecar had 58 MB between two turns; what it needs while it fetches was not measured, so the limit is wide.
SYNC: dict[str, Any] = {
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"cpu": "1", "memory": "512Mi"},
}

MODELS_SIZE = "5Gi"  # of the mirror: nine versions of 515 MB (docs/benchmarks/s3.md)
SCRATCH_SIZE = "256Mi"  # of /tmp

# At 70 % of capacity the 99th percentile is 316 ms, and 403 ms while a version is swapped (docs/benchmarks/serving.md,
# "Version swaps"); at 100 % requests are refused.
CPU_UTILIZATION = 70

# Seconds. The first answer comes 2.4 to 2.8 s after the start of the process (docs/benchmarks/serving.md, "Start and
# memory"), loading and golden requests of 515 MB as TensorFlow's variant take 9.9 s (docs/benchmarks/promotion.md).
# Nodes are slower and busier than that: twelve times as long.
LOAD_S = 120
# 515 MB are mirrored in 2.7 s beside the S3 server (docs/benchmarks/s3.md); over a network, of several versions, they
# may need minutes.
SYNC_S = 600
DRAIN_S = 30  # --drain_timeout_seconds: requests in flight; one may take 30 s (--rest_api_timeout_in_ms)
LEAVE_S = 10  # after a Pod is told to end, until no node sends it new connections
