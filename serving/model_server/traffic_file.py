"""`--traffic_config_file`: how each model's traffic is split, as the file says it now."""

import logging
from collections.abc import Mapping
from pathlib import Path

from serving.traffic import Traffic, parse_traffic
from slipway.errors import InputError

_ALL_STABLE = Traffic()
_LOG = logging.getLogger(__name__)


class TrafficFile:
    """Follows the file at `path`. A file that is missing splits nothing; one that is wrong changes nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: bytes | None = None
        self._complaint = ""
        self._models: Mapping[str, Traffic] = {}

    def of(self, model: str) -> Traffic:
        """How that model's traffic is split."""
        return self._models.get(model, _ALL_STABLE)

    def look(self) -> None:
        """Do as the file says; what is wrong with it goes to the log, once."""
        if self._path is None:
            return
        try:
            self._follow(self._path)
        except InputError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                _LOG.error("%s What was in effect before stays.", error)

    def _follow(self, path: Path) -> None:
        data = _read(path)
        if data == self._seen and not self._complaint:
            return
        models = {} if data is None else parse_traffic(data, str(path))
        self._seen, self._models, self._complaint = data, models, ""
        for name, traffic in sorted(models.items()):
            _LOG.info("%s: of its traffic %g %% goes to the canary; %s", name, traffic.canary, _more(traffic))
        if not models:
            _LOG.info("%s: no model's traffic is split", path)


def _more(traffic: Traffic) -> str:
    keys = [f"header {traffic.key_header}"] if traffic.key_header else []
    keys += ["the client's address"] if traffic.key_address else []
    return f"{traffic.shadow:g} % of the rest is copied to it; by {' or '.join(keys) or 'chance alone'}"


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected the models' traffic as JSON. Check its permissions."
        ) from error
