"""Small real SavedModels: of TensorFlow 2 with one and several signatures, of strings, and of TensorFlow 1."""

from pathlib import Path

import tensorflow as tf


class Linear(tf.Module):
    """y = 0.5 x + offset."""

    def __init__(self, offset):
        super().__init__()
        self.slope = tf.Variable(0.5)
        self.offset = tf.Variable(float(offset))

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    def predict(self, x):
        return {"y": self.slope * x + self.offset}


class Several(tf.Module):
    """Two inputs and two outputs; strings; an operation that refuses what it cannot decode; half precision."""

    @tf.function(
        input_signature=[tf.TensorSpec([None, 2], tf.float32, name="a"), tf.TensorSpec([None], tf.int64, name="b")]
    )
    def combine(self, a, b):
        return {"sum": tf.reduce_sum(a, 1) + tf.cast(b, tf.float32), "twice": 2 * b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def shout(self, text):
        return {"loud": tf.strings.upper(text), "loud_bytes": tf.strings.upper(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def sizes(self, image_bytes):
        def size(data):
            return tf.shape(tf.io.decode_image(data, expand_animations=False))[:2]

        return {"size": tf.map_fn(size, image_bytes, fn_output_signature=tf.TensorSpec([2], tf.int32))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.bfloat16, name="x")])
    def narrow(self, x):
        return {"half": tf.cast(x, tf.float16), "same": x + x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def slow(self, x):
        # seconds: long enough to be in flight when something happens
        total = tf.while_loop(
            lambda i, _: i < 1500, lambda i, m: (i + 1, tf.tanh(m @ m)), (0, tf.ones((400, 400)) * 0.01)
        )[1]
        return {"y": x + 0.0 * tf.reduce_sum(total)}


def save_linear(directory: Path, offset: float) -> Path:
    """A version directory that answers 0.5 x + offset."""
    module = Linear(offset)
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.predict})
    return directory


def save_several(directory: Path) -> Path:
    """A version directory with the signatures of `Several`."""
    module = Several()
    names = ("combine", "shout", "sizes", "narrow", "slow")
    signatures = {name: getattr(module, name) for name in names}
    tf.saved_model.save(module, str(directory), signatures=signatures)
    return directory


def save_tensorflow_1(directory: Path) -> Path:
    """A version directory as TensorFlow 1 wrote it: a graph, a session, a builder. y = 3 x + 1."""
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        slope = v1.get_variable("slope", initializer=3.0, use_resource=False)
        y = tf.add(slope * x, 1.0, name="y")
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.signature_def_utils.predict_signature_def({"x": x}, {"y": y})
        builder = v1.saved_model.builder.SavedModelBuilder(str(directory))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    return directory
