"""How the exporter comes to the registry and the ledger: opened at the first look, and again after one that failed."""

from pipeline.config import Config
from pipeline.metrics.facts import ModelFacts, Reader


class LifecycleReader:
    """Reads the models that the configuration's reconciler follows."""

    def __init__(self, config: Config, tracking_uri: str) -> None:
        self._also = {config.name, *config.reconcile.model_names}
        self._tracking_uri = tracking_uri
        self._reader: Reader | None = None

    def read(self) -> tuple[ModelFacts, ...]:
        """See Reader.read. SlipwayError, soon, while MLflow's server is away."""
        from registry.client import Registry
        from registry.database import default_database_url
        from registry.ledger import Ledger
        from registry.mlflow_errors import check_reachable

        check_reachable(self._tracking_uri)
        if self._reader is None:
            registry = Registry(self._tracking_uri)
            self._reader = Reader(registry, Ledger(default_database_url(self._tracking_uri)), self._also)
        return self._reader.read()
