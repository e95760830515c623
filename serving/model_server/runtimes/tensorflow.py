"""Any SavedModel, of TensorFlow 1 or 2, run by TensorFlow itself: the same bits as the SavedModel gives anywhere."""

import gc
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from serving.model_server.errors import ServingError, invalid_argument
from serving.model_server.memory import keep_for_good
from serving.wire.meta_graph_pb2 import SavedModel, SignatureDef
from serving.wire.status_pb2 import Code
from slipway.errors import IntegrityError

_TAGS = frozenset({"serve"})


def read_signatures(version_directory: Path, tags: frozenset[str] = _TAGS) -> dict[str, SignatureDef]:
    """The signatures of the SavedModel's graph with these tags; IntegrityError if there is no such SavedModel."""
    path = version_directory / "saved_model.pb"
    try:
        saved_model = SavedModel.FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise IntegrityError(f"{path}: cannot be read as a SavedModel ({error}). Export the version again.") from error
    for graph in saved_model.meta_graphs:
        if set(graph.meta_info_def.tags) == tags:
            return dict(graph.signature_def)
    found = "; ".join(",".join(sorted(graph.meta_info_def.tags)) for graph in saved_model.meta_graphs)
    raise IntegrityError(
        f"{path}: expected a graph with the tag {','.join(sorted(tags))!r} and no other; found {found or 'none'!r}. "
        "Export the version with it, or name what there is in --saved_model_tags."
    )


def _session_config(tf: Any, threads: int | None) -> Any:
    if threads is None:
        return None
    return tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads,
        inter_op_parallelism_threads=threads,
        use_per_session_threads=True,  # else the process' own, made at its first session, stay
    )


class TensorFlowRuntime:
    """A SavedModel in a session of its own, as TensorFlow Serving runs it.

    threads: so many for an operation, and as many operations at once, instead of one a core each.
    """

    def __init__(self, version_directory: Path, tags: frozenset[str] = _TAGS, threads: int | None = None) -> None:
        self.signatures: Mapping[str, SignatureDef] = read_signatures(version_directory, tags)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf

        keep_for_good("tensorflow")
        tf.get_logger().setLevel("ERROR")  # it calls the loader that TensorFlow Serving's sessions need deprecated
        self._tf = tf
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=_session_config(tf, threads))
        self._callables: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._making = threading.Lock()
        with self._session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.loader.load(self._session, sorted(tags), str(version_directory))
        if meta_graph.HasField("saver_def") and not (version_directory / "variables" / "variables.index").exists():
            self.close()
            raise IntegrityError(f"{version_directory}: its variables are missing. Export the version again.")

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray[Any, Any]], outputs: Sequence[str]
    ) -> Mapping[str, np.ndarray[Any, Any]]:
        """The named outputs for inputs that were checked; what the graph refuses becomes a ServingError of its code."""
        call = self._callable(signature, tuple(outputs))
        try:
            answers = call(*(inputs[name] for name in sorted(inputs)))
        except self._tf.errors.OpError as error:
            reason = (error.message or type(error).__name__).splitlines()[0]
            raise ServingError(Code.ValueType(error.error_code), reason) from error
        return {name: np.asarray(answer) for name, answer in zip(outputs, answers, strict=True)}

    def close(self) -> None:
        """Close the session and give its graph and variables back."""
        self._callables.clear()
        self._session.close()
        del self._session
        gc.collect()

    def _callable(self, signature: str, outputs: tuple[str, ...]) -> Any:
        """The session's call for these outputs, which spares building feeds and fetches on every request."""
        call = self._callables.get((signature, outputs))
        if call is None:
            with self._making:
                call = self._callables[signature, outputs] = self._make_callable(signature, outputs)
        return call

    def _make_callable(self, signature: str, outputs: tuple[str, ...]) -> Any:
        # Session.run would refuse [n] for a (-1, 1) placeholder, which TensorFlow Serving takes; a callable does not.
        definition = self.signatures[signature]
        from tensorflow.core.protobuf import config_pb2

        options = config_pb2.CallableOptions()
        for kind, info in [("input", definition.inputs[name]) for name in sorted(definition.inputs)] + [
            ("output", definition.outputs[name]) for name in outputs
        ]:
            if info.WhichOneof("encoding") != "name":
                raise invalid_argument(f"Signature {signature!r} has an {kind} that is no dense tensor.")
            (options.feed if kind == "input" else options.fetch).append(info.name)
        return self._session._make_callable_from_options(options)  # noqa: SLF001  no public name gives it
