"""All models of the server: the config in effect, and which version a request goes to."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from serving.model_server.callers import position
from serving.model_server.config import ModelSettings
from serving.model_server.errors import ServingError, failed_precondition, invalid_argument, not_found
from serving.model_server.lifecycle import ServedModel
from serving.model_server.load_rules import LoadRules
from serving.model_server.request import Request, current_request
from serving.model_server.version import Assigned, Lease, Version
from serving.traffic import CANARY, Traffic
from serving.wire.model_pb2 import ModelSpec
from serving.wire.status_pb2 import Code
from slipway.errors import InputError

_RELOAD_TIMEOUT_S = 600.0
_ALL_STABLE = Traffic()

OnLeft = Callable[[Lease, Request, BaseException | None], None]


class Models:
    """The models that are served. Every method may be called from any thread.

    traffic: how a model's requests are split that name neither version nor label. on_left: told of every prediction
    that leaves the version that it was answered by, or failed by with that error.
    """

    def __init__(
        self,
        rules: LoadRules,
        default_label: str = "",
        traffic: Callable[[str], Traffic] = lambda _model: _ALL_STABLE,
        on_left: OnLeft = lambda _lease, _request, _error: None,
    ) -> None:
        self._rules = rules
        self._default_label = default_label
        self.traffic = traffic
        self._on_left = on_left
        self._models: dict[str, ServedModel] = {}
        self._config_lock = threading.Lock()
        self._once_ready = False
        self._once_available: set[str] = set()  # of the models that somebody asked `ready` about

    def configure(self, settings: Iterable[ModelSettings]) -> None:
        """Replace the whole config: add, change and retire models. Labels follow when their versions are AVAILABLE.

        InputError, and nothing is changed, if a model that is served would be of another platform.
        """
        with self._config_lock:
            wanted = tuple(settings)
            self._check_platforms(wanted)
            self._configure(wanted)

    def reload(self, settings: Iterable[ModelSettings]) -> None:
        """As TensorFlow Serving's HandleReloadConfigRequest: new models are awaited, then all labels move, or none.

        ServingError UNKNOWN if a new model does not come up, FAILED_PRECONDITION if a label's version is not
        available; the rest of the config is then in effect all the same. INVALID_ARGUMENT, and nothing is changed, for
        another platform.
        """
        with self._config_lock:
            wanted = tuple(settings)
            try:
                self._check_platforms(wanted)
            except InputError as error:
                raise invalid_argument(str(error)) from error
            new = [model.name for model in wanted if not self._serves(model.name)]
            self._configure(replace(model, labels=self._labels(model.name)) for model in wanted)
            failed = [name for name in new if not self._models[name].wait(_RELOAD_TIMEOUT_S)]
            if failed:
                raise ServingError(Code.UNKNOWN, f"Some models did not become available: {{{', '.join(failed)}}}")
            for model in wanted:
                self._check_labels(model)
            self._configure(wanted)

    def look(self) -> None:
        """Look for new versions of every model."""
        for model in self.served():
            model.look()

    def acquire(self, spec: ModelSpec) -> Lease:
        """A lease on the version that a request for `spec` goes to; ServingError, as TensorFlow Serving's, if none.

        Without version or label: the canary for its share of the traffic, if it is AVAILABLE; else the one that bears
        the default label if there is one, else the highest AVAILABLE.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        model = self._models.get(spec.name)
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            number = self._labelled(model, spec.version_label)
            lease = model.acquire_labelled(spec.version_label) if model else None
            wanted = f"Specific({spec.name}, {number})"
        elif choice == "version":
            lease = model.acquire(spec.version.value) if model else None
            wanted = f"Specific({spec.name}, {spec.version.value})"
        else:
            lease = self._acquire_assigned(model) if model else None
            wanted = f"Latest({spec.name})"
        if lease is None:
            raise not_found(f"Servable not found for request: {wanted}")
        request = current_request()
        if request is not None:
            request.served = lease.served
            lease.on_left = partial(self._on_left, lease, request)
        return lease

    def versions(self, spec: ModelSpec) -> tuple[Version, ...]:
        """The versions that GetModelStatus reports for `spec`, highest first; ServingError if there is none."""
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        model = self._models.get(spec.name)
        found = model.versions() if model else ()
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            if not found:
                raise not_found(f"Could not find any versions of model {spec.name}")
            return found
        number = self._labelled(model, spec.version_label) if choice == "version_label" else spec.version.value
        found = tuple(version for version in found if version.number == number)
        if not found:
            raise not_found(f"Could not find version {number} of model {spec.name}")
        return found

    def served(self) -> tuple[ServedModel, ...]:
        """The models that the config lists, by name."""
        return tuple(model for _, model in sorted(self._models.copy().items()) if not model.retired)

    def named(self, name: str) -> ServedModel:
        """The model of that name; ServingError NOT_FOUND if the config lists none."""
        if not self._serves(name):
            raise not_found(f"Could not find any versions of model {name}")
        return self._models[name]

    def ready(self) -> bool:
        """Whether there are models and each has a version AVAILABLE, but for one that came later and never had one.

        So a model that is listed while others are served does not take the requests of these away.
        """
        served = {model.name: model.is_available() for model in self.served()}
        available = {name for name, is_available in served.items() if is_available}
        self._once_available |= available
        self._once_ready = self._once_ready or (bool(served) and all(served.values()))
        expected = served.keys() & self._once_available if self._once_ready else served.keys()
        return bool(available) and expected <= available

    def _acquire_assigned(self, model: ServedModel) -> Lease | None:
        traffic = self.traffic(model.name)
        lease = None
        if traffic.canary:
            request = current_request()
            if traffic.goes_to_canary(position(model.name, traffic, request.caller if request else None)):
                lease = model.acquire_labelled(CANARY)
        lease = lease or model.acquire_labelled(self._default_label, or_highest=True)
        if lease is not None:
            lease.assigned = Assigned(traffic.shadow, partial(model.acquire_labelled, CANARY))
        return lease

    def _configure(self, settings: Iterable[ModelSettings]) -> None:
        listed = set()
        for wanted in settings:
            listed.add(wanted.name)
            model = self._models.get(wanted.name)
            if model is None:
                model = self._models[wanted.name] = ServedModel(wanted, self._rules, self._default_label)
            model.configure(wanted)
        for name, model in self._models.items():
            if name not in listed and not model.retired:
                model.retire()

    def _check_platforms(self, settings: Iterable[ModelSettings]) -> None:
        for wanted in settings:
            if self._serves(wanted.name) and self._models[wanted.name].settings.platform != wanted.platform:
                raise InputError(
                    f"Illegal to change a model's platform. For model {wanted.name} platform was "
                    f"{self._models[wanted.name].settings.platform} and new platform requested is {wanted.platform}"
                )

    def _serves(self, name: str) -> bool:
        return name in self._models and not self._models[name].retired

    def _labels(self, name: str) -> dict[str, int]:
        return self._models[name].labels if name in self._models else {}

    def _labelled(self, model: ServedModel | None, label: str) -> int:
        number = model.labelled(label) if model else None
        if number is None:
            raise invalid_argument(f"Unrecognized servable version label: {label}")
        return number

    def _check_labels(self, settings: ModelSettings) -> None:
        current = self._labels(settings.name)
        for label, number in settings.labels.items():
            may_wait = self._rules.labels_may_wait and current.get(label, number) == number
            if not may_wait and not self._models[settings.name].may_bear_label(number, _RELOAD_TIMEOUT_S):
                raise failed_precondition(
                    f"Request to assign label to version {number} of model {settings.name}, "
                    "which is not currently available for inference"
                )
