"""The sync sidecar: whole versions of a base path in S3, mirrored to a directory that a model server reads."""
