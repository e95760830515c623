"""The versions of one model: loading, labels, unloading, and which of them answers a request.

A version that is no longer wanted goes only when a wanted one is AVAILABLE and no label holds it, so that a change,
or a version that fails to load, never leaves a request without an answer.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial

from serving.model_server.config import ModelSettings
from serving.model_server.errors import load_failure
from serving.model_server.labels import label_of, move_labels
from serving.model_server.load_rules import LoadRules
from serving.model_server.memory import give_back_memory
from serving.model_server.source import VersionDirectory, find_versions
from serving.model_server.tally import Tally
from serving.model_server.version import Lease, State, Version

_LOG = logging.getLogger(__name__)


class ServedModel:
    """The versions of one model. Every method may be called from any thread.

    default_label: where requests go that name neither version nor label, if the config has such a label.
    """

    def __init__(self, settings: ModelSettings, rules: LoadRules, default_label: str = "") -> None:
        self.name = settings.name
        self._settings = settings
        self._rules = rules
        self._default_label = default_label
        self._looking = threading.Lock()  # a look that started earlier must not overrule a later one
        self._changed = threading.Condition()
        self._versions: dict[int, Version] = {}
        self._wanted: Mapping[int, VersionDirectory] = {}
        self._labels: dict[str, int] = {}
        self._unload_all = False
        self._retired = False
        self._complaint = ""

    @property
    def settings(self) -> ModelSettings:
        """What was last asked of this model."""
        return self._settings

    @property
    def retired(self) -> bool:
        """Whether the config no longer lists it."""
        return self._retired

    def configure(self, settings: ModelSettings) -> None:
        """Serve as `settings` say from now on, and look for the versions."""
        with self._changed:
            self._settings, self._retired = settings, False
        self.look()

    def retire(self) -> None:
        """Unload every version: the config no longer lists this model."""
        with self._looking, self._changed:
            self._retired, self._unload_all, self._wanted = True, True, {}
            self._labels.clear()
            self._settle()

    def look(self) -> None:
        """Compare the base path with what is loaded, and start what makes them agree."""
        with self._looking:
            if not self._retired:
                self._look(self._settings)

    def acquire(self, number: int) -> Lease | None:
        """A lease on that version; None if it is not AVAILABLE."""
        with self._changed:
            version = self._versions.get(number)
            if version is None or version.state != State.AVAILABLE:
                return None
            return Lease.take(self.name, version, self._changed)

    def acquire_labelled(self, label: str, *, or_highest: bool = False) -> Lease | None:
        """A lease on the version that bears the label; None if there is none, or it is not AVAILABLE.

        `or_highest`: the highest version, for a model whose config has no such label. One whose config has it gives
        no other version than the label's, also while that one is still loading.
        """
        with self._changed:
            number = self._bearing(label, or_highest=or_highest)
            return None if number is None else self.acquire(number)

    def answers(self) -> bool:
        """Whether a request that names neither version nor label finds a version now, wherever a split may send it."""
        with self._changed:
            return self._bearing(self._default_label, or_highest=True) is not None

    def labelled(self, label: str) -> int | None:
        """The number of the version that bears the label."""
        with self._changed:
            return self._labels.get(label)

    @property
    def labels(self) -> dict[str, int]:
        """The labels in effect."""
        with self._changed:
            return dict(self._labels)

    def versions(self) -> tuple[Version, ...]:
        """Every version that there is or was, highest first; a snapshot to read from."""
        with self._changed:
            return tuple(self._versions[number] for number in sorted(self._versions, reverse=True))

    def present(self) -> tuple[Version, ...]:
        """Those of them that are not at their END, and those that ended and are wanted all the same."""
        with self._changed:
            return tuple(one for one in self.versions() if one.state != State.END or one.number in self._wanted)

    def is_available(self, number: int | None = None) -> bool:
        """Whether that version, or any, is AVAILABLE."""
        with self._changed:
            available = self._available()
            return number in available if number is not None else bool(available)

    def may_bear_label(self, number: int, timeout_s: float) -> bool:
        """Whether that version is AVAILABLE; what it still owes is waited for."""
        with self._changed:
            version = self._versions.get(number)
            self._changed.wait_for(lambda: version is None or not version.is_on_trial, timeout_s)
            return number in self._answering()

    def wait(self, timeout_s: float) -> bool:
        """Wait until a version is AVAILABLE, or every wanted one has failed; whether one is AVAILABLE."""
        with self._changed:
            self._changed.wait_for(lambda: self._available() or self._all_failed(), timeout_s)
            return bool(self._available())

    def _look(self, settings: ModelSettings) -> None:
        try:
            present = find_versions(settings.base_path)
        except OSError as error:
            self._complain(f"base path cannot be listed ({error}); its versions stay as they are")
            return
        wanted = settings.policy.choose(present)
        if not present:
            self._complain(f"no versions below {settings.base_path}; nothing is served until there is one")
        elif not wanted:
            self._complain(f"none of the versions asked for is below {settings.base_path}; those loaded stay")
        else:
            self._complaint = ""
        with self._changed:
            self._wanted = {number: present[number] for number in wanted}
            self._unload_all = not present
            self._settle()

    def _available(self) -> list[int]:
        return [number for number, version in self._versions.items() if version.state == State.AVAILABLE]

    def _answering(self) -> list[int]:
        """Those for requests that do not say which."""
        return [number for number in self._available() if not self._versions[number].owes]

    def _bearing(self, label: str, *, or_highest: bool) -> int | None:
        answering = self._answering()
        if label in self._labels:
            return self._labels[label] if self._labels[label] in answering else None
        return max(answering, default=None) if or_highest and label not in self._settings.labels else None

    def _all_failed(self) -> bool:
        found = [self._versions.get(number) for number in self._wanted]
        return all(version is not None and version.failure is not None for version in found)

    def _settle(self) -> None:
        self._want()
        self._load_next()
        self._move_labels()
        self._unload_replaced()
        self._changed.notify_all()

    def _want(self) -> None:
        for number, directory in self._wanted.items():
            version = self._versions.get(number)
            if version is None:
                self._versions[number] = Version(number, directory)
            elif version.state == State.END and self._rules.may_load(version, directory):
                failures = version.failures if version.directory == directory else 0
                self._versions[number] = Version(number, directory, failures=failures)
        for number in [n for n, one in self._versions.items() if one.state == State.START and n not in self._wanted]:
            del self._versions[number]

    def _settle_later(self, delay_s: float) -> None:
        """A failed load is tried again when it is due, whether or not anybody looks for versions meanwhile."""
        timer = threading.Timer(delay_s, self._settle_now)
        timer.daemon = True
        timer.start()

    def _settle_now(self) -> None:
        with self._changed:
            self._settle()

    def _load_next(self) -> None:
        """One at a time for each model, the highest first; models load beside each other."""
        if any(version.state == State.LOADING for version in self._versions.values()):
            return
        waiting = [number for number, version in self._versions.items() if version.state == State.START]
        if waiting:
            version = self._versions[max(waiting)]
            version.state = State.LOADING
            _LOG.info("%s/%d LOADING from %s", self.name, version.number, version.directory.path)
            threading.Thread(target=self._load, args=(version,), name=f"load-{self.name}", daemon=True).start()

    def _load(self, version: Version) -> None:
        apart = partial(self._is_apart, version.number)
        attempt = self._rules.attempt(self.name, self._settings.platform, version.directory.path, apart)
        loaded = attempt.loaded
        with self._changed:
            if attempt.failure is not None:
                version.fail(attempt.failure, self._rules.clock())
                self._rules.swaps.failed(self.name, version.number, attempt.failure)
                _LOG.error("%s/%d END: %s", self.name, version.number, attempt.failure)
                if not version.is_final(self._rules.retries):
                    self._settle_later(self._rules.retry_interval_s)
            elif loaded is not None:
                version.loaded, version.tally, version.owes = loaded, Tally(attempt.identity), attempt.owes
                version.state = State.AVAILABLE
                took, variant = f"{attempt.took_s:.1f} s", loaded.variant.name
                _LOG.info("%s/%d AVAILABLE after %s: %s", self.name, version.number, took, variant)
                self._rules.swaps.loaded(self.name, version.number)
                self._rules.on_available(self.name, version.number)
            self._settle()
        if loaded is None:
            return
        if loaded.owed is not None and attempt.owes:
            done = self._do_later(version, partial(self._rules.pay, loaded.owed, version.is_available))
            with self._changed:
                version.owes = not (done and version.is_available())  # one that is going is asked no more
                self._settle()
        for work in loaded.later:
            self._do_later(version, work)

    def _is_apart(self, number: int) -> bool:
        """Whether only requests that name the version by its number reach it: others go where their label is."""
        with self._changed:
            labels = self._settings.labels
            return self._default_label in labels and number not in labels.values()

    def _do_later(self, version: Version, work: Callable[[], None]) -> bool:
        """What is done while a version is AVAILABLE; its unload waits for the end of it. Whether it found no fault."""
        with self._changed:
            if version.state != State.AVAILABLE:
                return False
            lease = Lease.take(self.name, version, self._changed)
        with lease:
            try:
                work()
            except Exception as error:  # noqa: BLE001  whatever it is, the version answers as it did
                fault = load_failure(error, version.directory.path)
                version.faults.append(fault)
                self._rules.swaps.failed(self.name, version.number, fault)
                _LOG.error("%s/%d has a fault, and goes on with what was checked: %s", self.name, version.number, fault)
                return False
        return True

    def _move_labels(self) -> None:
        desired = {} if self._retired else self._settings.labels
        for label, number in move_labels(self._labels, desired, self._answering(), self._rules.labels_may_wait):
            self._rules.swaps.label_moved(self.name, label)
            _LOG.info("%s/%d bears label %s", self.name, number, label)
        for version in self._versions.values():
            version.label = label_of(self._labels, version.number)

    def _unload_replaced(self) -> None:
        available = self._available()
        if not self._unload_all and not any(number in self._wanted for number in self._answering()):
            return
        held = () if self._unload_all else self._labels.values()
        for number in available:
            if number not in self._wanted and number not in held:
                version = self._versions[number]
                version.state = State.UNLOADING
                _LOG.info("%s/%d UNLOADING", self.name, number)
                threading.Thread(target=self._unload, args=(version,), name=f"unload-{self.name}", daemon=True).start()

    def _unload(self, version: Version) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not version.uses)
            loaded, version.loaded = version.loaded, None
        if loaded is not None:
            with self._rules.unload_slots:
                loaded.runtime.close()
                del loaded
                give_back_memory()
        with self._changed:
            version.state = State.END
            self._rules.swaps.unloaded(self.name, version.number)
            _LOG.info("%s/%d END", self.name, version.number)
            self._settle()

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            _LOG.warning("%s: %s", self.name, complaint)
