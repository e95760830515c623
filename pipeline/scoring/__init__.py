"""Scoring in bulk: many images to predictions in parquet, by processes or by Spark, in parts that are there or not."""
