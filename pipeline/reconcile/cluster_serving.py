"""The target kubernetes: a version comes up beside the live one, and the model's Service is turned to it at the end."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.config import Config
from pipeline.in_cluster import served_version
from pipeline.reconcile.cluster_golden import Route
from pipeline.reconcile.serving import RefusedError, ServerReport, Verified, Waiting
from registry.client import ModelVersion, Registry
from serving.client.server_status import VersionState
from serving.cluster.cluster import Cluster
from serving.cluster.refusals import ApiRefusalError
from serving.cluster.rollout import pod_selector, progress, reasons
from serving.cluster.stamps import Object, Owner, answered_digest, owner_of, selector_of, version_of
from serving.kubernetes.manifests import live_objects, model_objects, version_objects
from serving.kubernetes.names import object_name, version_name
from serving.kubernetes.spec import ServedVersion
from serving.model_config import STABLE, Wanted
from serving.stores import open_store
from slipway.errors import InputError, IntegrityError, UnavailableError

_SHORTEST_LOOK_S, _LONGEST_LOOK_S = 0.1, 2.0
_LOOK_OF_WAITED = 0.1


def _always_wanted() -> None:
    pass


class ClusterServing:
    """See Serving. What is live is the version that the selector of the model's Service names.

    Every method raises ConflictError, and changes nothing, where Pods of the model follow another base path, and
    InputError where the API server forbids what is needed.
    """

    def __init__(self, cluster: Cluster, config: Config, registry: Registry, route: Route) -> None:
        self._cluster = cluster
        self._config = config
        self._registry = registry
        self._route = route
        self._answered: set[ServedVersion] = set()  # their golden requests, in this pass

    def report(self, name: str) -> tuple[ServerReport, ...]:
        """See Serving. The cluster is one server."""
        owner = self._owner(name)
        found, live = self._cluster.versions(owner), self._live(owner)
        states = {version: _state(deployment) for version, deployment in found.items()}
        selected = {} if live is None else {live: states.pop(live, VersionState("END", "it has no Deployment"))}
        answers = live is not None and selected[live].is_available
        return (ServerReport(self._place(name), selected, states, {STABLE: live} if live and answers else {}),)

    def await_loaded(self, version: ModelVersion, waiting: Waiting) -> None:
        """See Serving. Applies what is the version's own; takes it away again if its Pods do not get ready."""
        served, owner = self._served(version), self._owner(version.name)
        self._answered.discard(served)
        self._apply(served, owner)
        try:
            self._await_rollout(served, owner, waiting)
        except RefusedError:
            self._undo(owner, version.version)
            raise

    def verify(self, version: ModelVersion) -> Verified:
        """See Serving. Asks at the version's own Service; takes the version away again if it answers otherwise."""
        try:
            return self._asked(version)
        except RefusedError:
            self._undo(self._owner(version.name), version.version)
            raise

    def await_live(self, version: ModelVersion, waiting: Waiting) -> None:
        """See Serving. Turns the model's Service, once the version is there and has answered its golden requests.

        One that is live already has to answer, too, if a killed pass changed it and did not get to that.
        """
        served, owner = self._served(version), self._owner(version.name)
        changed = self._apply(served, owner) or not self._has_answered(served, owner)
        turning = self._live(owner) != version.version
        if turning and self._take_over_load(served, owner):
            changed = True
        if changed or turning:
            try:
                self._await_rollout(served, owner, waiting)
                if changed or served not in self._answered:
                    self._asked(version)
            except RefusedError as error:
                raise UnavailableError(
                    f"version {version.version} is live by the config files, and not by {self._place(version.name)}: "
                    f"{error}. What answered there before goes on."
                ) from error
            waiting.still_wanted()
        self._turn(served, owner)

    def converge(self, name: str, final: Wanted, check: Callable[[], None] = _always_wanted) -> tuple[str, ...]:
        """Have the cluster be as the config files are at the end of a pass; what that changed, a text each.

        A rollback, which moves nothing but the config files, is followed here. What nobody keeps is deleted, such as
        what a killed pass has left. check: raises once somebody else does the passes.
        """
        owner, done = self._owner(name), []
        if final.champion is not None:
            before = self._live(owner)
            timeout_s = self._config.reconcile.load_timeout_s
            self.await_live(self._registry.version(name, final.champion), Waiting(timeout_s, check))
            if before != final.champion:
                done.append(f"turn {self._place(name)} to version {final.champion}")
        elif self._config.reconcile.allow_retire and not final.candidates:
            check()
            gone = self._cluster.delete_model(owner)
            return (f"delete {gone} objects from namespace {self._cluster.namespace}",) if gone else ()
        kept = {final.champion, final.previous, *final.candidates, self._live(owner)}
        for version in sorted(set(self._cluster.versions(owner)) - kept):
            check()
            self._cluster.delete_version(owner, version)
            done.append(f"delete what served version {version} from namespace {self._cluster.namespace}")
        self._answered.clear()  # what answers now may be gone when a later pass turns to it
        return tuple(done)

    def _owner(self, name: str) -> Owner:
        return owner_of(name, self._config.base, self._config.s3_endpoint or None)

    def _served(self, version: ModelVersion) -> ServedVersion:
        return served_version(self._config, version)

    def _live(self, owner: Owner) -> int | None:
        service = self._cluster.find("Service", object_name(owner.model))
        if service is None:
            return None
        owner.check(service)
        return version_of(selector_of(service))

    def _apply(self, served: ServedVersion, owner: Owner) -> bool:
        """Have what the version needs be there; whether anything of it had to be sent."""
        self._cluster.versions(owner)  # ConflictError before anything is changed
        sized = replace(served, settings=replace(served.settings, replicas=self._replicas(served, owner)))
        sent = [self._cluster.apply(owner, each) for each in _documents(sized)]
        if any(sent):
            self._answered.discard(served)
        return any(sent)

    def _replicas(self, served: ServedVersion, owner: Owner) -> int:
        """As many Pods as the live version has: who takes over takes over its load."""
        live = self._live(owner)
        beside = None if live is None else self._cluster.find("Deployment", version_name(owner.model, live))
        load = 0 if beside is None else int(beside["spec"].get("replicas", 1))
        return min(max(served.settings.replicas, load), served.settings.max_replicas)

    def _take_over_load(self, served: ServedVersion, owner: Owner) -> bool:
        """Have a version that is there already be as large as the live one; whether that had to be changed."""
        deployment, wanted = self._deployment(served, owner), self._replicas(served, owner)
        if int(deployment["spec"].get("replicas", 1)) >= wanted:
            return False
        self._cluster.scale(deployment, wanted)
        return True

    def _turn(self, served: ServedVersion, owner: Owner) -> None:
        """Make it live: the Service first, then the autoscaler and the disruption budget go with it."""
        for document in live_objects(served):
            self._cluster.apply(owner, document)

    def _await_rollout(self, served: ServedVersion, owner: Owner, waiting: Waiting) -> None:
        while True:
            deployment = self._deployment(served, owner)
            state = progress(deployment)
            if state.done:
                return
            if state.failed:
                raise RefusedError(f"{served.version_name}: {self._because(state.failed, deployment)}")
            if not _rested(waiting):
                said = self._because(f"not ready within {waiting.timeout_s:g} s: {state.words}", deployment)
                raise RefusedError(f"{served.version_name}: {said}")

    def _deployment(self, served: ServedVersion, owner: Owner) -> Object:
        deployment = self._cluster.find("Deployment", served.version_name)
        if deployment is None:
            raise UnavailableError(
                f"Deployment {served.version_name!r} is gone from namespace {self._cluster.namespace!r} while it was "
                "waited for; expected nobody to delete it. Run `slipway reconcile` again."
            )
        owner.check(deployment)
        return deployment

    def _because(self, what: str, deployment: Object) -> str:
        why = reasons(deployment, self._pods(deployment))
        return f"{what}; {why}" if why else what

    def _pods(self, deployment: Object) -> Sequence[Object]:
        """None where the Role does not let us see them: the rollout is over either way."""
        try:
            return self._cluster.listed("Pod", pod_selector(deployment))
        except ApiRefusalError:
            return ()

    def _asked(self, version: ModelVersion) -> Verified:
        began, served = time.monotonic(), self._served(version)
        store = open_store(self._config.base)
        try:
            golden = self._route.ask(self._cluster.api, served, version, store)
        except ApiRefusalError:
            raise
        except (IntegrityError, InputError) as error:  # InputError: its server cannot run it at all
            raise RefusedError(str(error)) from error
        self._note_answered(served, self._owner(version.name))
        place = f"{self._cluster.namespace}/{served.version_name}"
        return Verified(golden, (place,), time.monotonic() - began)

    def _has_answered(self, served: ServedVersion, owner: Owner) -> bool:
        """Whether what serves it, as it is now, has ever answered its golden requests, in whichever pass."""
        return answered_digest(self._deployment(served, owner)) == owner.digest_of(_documents(served))

    def _note_answered(self, served: ServedVersion, owner: Owner) -> None:
        self._answered.add(served)
        if not self._has_answered(served, owner):
            self._cluster.note_answered(self._deployment(served, owner), owner.digest_of(_documents(served)))

    def _undo(self, owner: Owner, version: int) -> None:
        """Take a refused version away, unless it is live: then it is for whoever reads why it was refused."""
        if self._live(owner) != version:
            self._cluster.delete_version(owner, version)

    def _place(self, name: str) -> str:
        return f"Service {self._cluster.namespace}/{object_name(name)}"


def _documents(served: ServedVersion) -> list[Object]:
    """What has to be there for a version to answer."""
    return [*model_objects(served), *version_objects(served)]


def _state(deployment: Object | None) -> VersionState:
    """A Deployment in the words that model servers have for a version."""
    if deployment is None:
        return VersionState("END", "it has no Deployment")
    state = progress(deployment)
    available = int((deployment.get("status") or {}).get("availableReplicas", 0))
    if available:
        return VersionState("AVAILABLE", "")
    return VersionState("END", state.failed) if state.failed else VersionState("LOADING", state.words)


def _rested(waiting: Waiting) -> bool:
    """Wait until it is time to look again; False when the time is up."""
    rest_s = min(_LONGEST_LOOK_S, max(_SHORTEST_LOOK_S, _LOOK_OF_WAITED * waiting.waited_s))
    until = time.monotonic() + rest_s
    while time.monotonic() < until:
        if not waiting.pause():
            return False
    return True
