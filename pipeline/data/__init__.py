"""A source of images -> a validated, split, digested dataset, and batches that stream from its files."""

from pipeline.data.batches import batches, shuffled
from pipeline.data.config import DataConfig
from pipeline.data.dataset import Dataset, Record, load_dataset
from pipeline.data.problems import Problem
from pipeline.data.tracking import mlflow_dataset

__all__ = ["DataConfig", "Dataset", "Problem", "Record", "batches", "load_dataset", "mlflow_dataset", "shuffled"]
