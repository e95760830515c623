"""TensorFlow Serving's messages and files, without TensorFlow: our own definitions, the same bytes on the wire.

They stand in proto package `slipway.wire`, so that a process may hold them beside TensorFlow's own.
`python -m serving.wire.generate` makes the `*_pb2` modules from the `*.proto` files.
"""
