"""Looking, again and again, for new versions, for a changed config file, and for a changed split of the traffic."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from serving.model_server.config import parse_config
from serving.model_server.models import Models
from serving.model_server.traffic_file import TrafficFile
from slipway.errors import InputError

_LOG = logging.getLogger(__name__)


class Poller:
    """A thread that looks at the base paths, and at the config files, each at its own interval; 0 is not again."""

    def __init__(
        self,
        models: Models,
        versions_interval_s: float,
        config: Path | None,
        config_interval_s: float,
        traffic: TrafficFile | None = None,
    ) -> None:
        self._models = models
        self._config = config
        self._traffic = traffic
        self._intervals_s = (
            versions_interval_s,
            config_interval_s if config else 0.0,
            config_interval_s if traffic else 0.0,
        )
        self._seen = b""
        self._complaint = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poll", daemon=True)

    def start(self) -> None:
        """Apply the files, if there are any, and start looking; InputError if the first cannot be read as a config."""
        self._look_at_traffic()
        if self._config is not None:
            self._apply(_read(self._config), self._config)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def _run(self) -> None:
        due = [time.monotonic() + interval for interval in self._intervals_s]
        looks = (self._models.look, self._look_at_config, self._look_at_traffic)
        active = [index for index, interval in enumerate(self._intervals_s) if interval > 0]
        while active:
            if self._stop.wait(max(0.0, min(due[index] for index in active) - time.monotonic())):
                return
            for index in active:
                if time.monotonic() >= due[index]:
                    self._guarded(looks[index])
                    due[index] = time.monotonic() + self._intervals_s[index]

    def _look_at_config(self) -> None:
        assert self._config is not None
        data = _read(self._config)
        if data != self._seen:
            self._apply(data, self._config)

    def _look_at_traffic(self) -> None:
        if self._traffic is not None:
            self._traffic.look()

    def _apply(self, data: bytes, path: Path) -> None:
        self._seen = data
        self._models.configure(parse_config(data, path))
        self._complaint = ""
        _LOG.info("config %s is in effect", path)

    def _guarded(self, look: Callable[[], None]) -> None:
        """The thread must outlive whatever a file or a directory does to it."""
        try:
            look()
        except InputError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                _LOG.error("%s What was in effect before stays.", error)
        except Exception:  # noqa: BLE001  see above
            _LOG.exception("looking for versions failed in a way that was not foreseen")


def _read(config: Path) -> bytes:
    try:
        return config.read_bytes()
    except OSError as error:
        raise InputError(
            f"{config}: cannot be read ({error.strerror}); expected a ModelServerConfig as text."
        ) from error
