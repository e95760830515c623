"""Publication to S3 and the sync sidecar beside `aws s3 cp --recursive` of the same files."""
