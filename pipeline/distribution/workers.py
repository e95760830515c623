"""The workers of one training, met: what each of them gives is summed over all. `tf.distribute` carries it."""

import contextlib
import json
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.distribution.place import Place
from slipway.tensorflow_start import start_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf


class Workers:
    """All workers must call the same methods in the same order: each waits for the others' part.

    `tf.errors.OpError` from any of them where a worker is gone; this process cannot go on with the others then.
    """

    def __init__(self, place: Place, strategy: "tf.distribute.Strategy") -> None:
        import tensorflow as tf

        self.place = place
        self._strategy = strategy
        summing = self.summing(lambda values: (values, ()))
        self._summed = tf.function(lambda values: summing(values)[0], autograph=False)

    def summing(self, compute: Callable[..., tuple[Sequence[Any], Any]]) -> Callable[..., tuple[list[Any], Any]]:
        """A function, to be called in a graph, that returns two things, as `compute` does.

        First the sums over all workers of `compute`'s first, tensors of one dtype; then its second, which stays here.
        """
        import tensorflow as tf

        def on_worker(*arguments: Any) -> Any:
            given, kept = compute(*arguments)
            # Identities, since an argument of the graph has no device, and is refused for that.
            own = [tf.identity(value) for value in given]
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, own), kept

        uncovered = tf.autograph.experimental.do_not_convert(on_worker)
        return lambda *arguments: self._strategy.run(uncovered, args=arguments)

    def summed(self, *values: "tf.Tensor") -> list["tf.Tensor"]:
        """The sums over all workers, of tensors of one dtype."""
        return list(self._summed(values))

    def from_chief(self, variables: "Iterable[tf.Variable]") -> None:
        """Give every variable the chief's value."""
        import tensorflow as tf

        kinds: dict[Any, list[Any]] = defaultdict(list)
        for variable in variables:
            kinds[variable.dtype].append(variable)
        for kind in sorted(kinds, key=str):
            wire = tf.as_dtype(kind) if tf.as_dtype(kind).is_floating else tf.int64
            own = [tf.cast(tf.convert_to_tensor(variable), wire) for variable in kinds[kind]]
            sums = self.summed(*(own if self.place.is_chief else map(tf.zeros_like, own)))
            for variable, value in zip(kinds[kind], sums, strict=True):
                variable.assign(tf.cast(value, kind))

    def told(self, own: Any) -> list[Any]:
        """What each worker says, in their order: anything that JSON can hold."""
        import numpy as np
        import tensorflow as tf

        text = np.frombuffer(json.dumps(own).encode(), np.uint8)
        lengths = np.zeros(self.place.workers, np.int64)
        lengths[self.place.index] = len(text)
        lengths = self.summed(tf.constant(lengths))[0].numpy()
        table = np.zeros((self.place.workers, lengths.max()), np.int64)
        table[self.place.index, : len(text)] = text
        said = self.summed(tf.constant(table))[0].numpy().astype(np.uint8)
        return [json.loads(row[:length].tobytes()) for row, length in zip(said, lengths, strict=True)]

    def meet(self) -> None:
        """Return when every worker has come to this call."""
        import tensorflow as tf

        self.summed(tf.constant([1.0]))

    def part(self) -> None:
        """Return when every worker has finished what stands before this, or is gone.

        Who leaves without it tears the connection under one that still receives the last sums.
        """
        import tensorflow as tf

        with contextlib.suppress(tf.errors.OpError):
            self.meet()


def join(place: Place) -> Workers:
    """Meet the others: returns when all are there. TF_CONFIG in the environment says the same as `place`.

    Must be the first use of TensorFlow in a process.
    """
    tf = start_tensorflow(device=False)
    workers = Workers(place, tf.distribute.MultiWorkerMirroredStrategy())
    # TensorFlow's services may take the signal for themselves; who starts us ends us with it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return workers
