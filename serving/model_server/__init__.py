"""The embedded model server: TensorFlow Serving's flags, REST, gRPC, base paths and config, in Python."""
