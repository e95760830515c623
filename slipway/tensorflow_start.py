"""Start TensorFlow without its start-up notices, which no log level holds back."""

import os
import sys
from typing import Any


def start_tensorflow(*, device: bool = True) -> Any:
    """Import TensorFlow, start its CPU device, and return the module. Python errors are raised as always.

    device: False where something of its own has to be done before the device starts.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor, not a path
            os.dup2(nowhere.fileno(), 2)
        import tensorflow as tf

        if device:
            tf.constant(0)
        tf.get_logger().setLevel("ERROR")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    return tf
