"""Whether a Deployment's Pods are all there and ready, and why they are not. Reads what Kubernetes says of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.cluster.stamps import Object

_LONGEST = 400


@dataclass(frozen=True)
class Progress:
    """failed: why Kubernetes has given up; "" if it has not. words: how far it is."""

    done: bool
    failed: str
    words: str


def progress(deployment: Object) -> Progress:
    """How far a Deployment is, as `kubectl rollout status` judges it; one without Pods is not done."""
    wanted = int(deployment.get("spec", {}).get("replicas", 1))
    status: Mapping[str, Any] = deployment.get("status") or {}
    generation = deployment.get("metadata", {}).get("generation", 1)
    if int(status.get("observedGeneration", 0)) < generation:
        return Progress(done=False, failed="", words="not looked at by the cluster yet")
    there, updated, available = (
        int(status.get(key, 0)) for key in ("replicas", "updatedReplicas", "availableReplicas")
    )
    words = f"{updated} of {wanted} Pods are there, {available} available"
    stopped = [
        each
        for each in status.get("conditions") or []
        if (each.get("type"), each.get("status")) == ("Progressing", "False")
    ]
    if any(each.get("reason") == "ProgressDeadlineExceeded" for each in stopped):
        return Progress(done=False, failed=f"ProgressDeadlineExceeded: {words}", words=words)
    done = wanted > 0 and updated >= wanted and there <= updated and available >= updated
    return Progress(done, "", words)


def reasons(deployment: Object, pods: Sequence[Object]) -> str:
    """Why Pods are not ready, in Kubernetes' own words; "" if nothing says why."""
    said = dict.fromkeys([*(text for pod in pods for text in _of_pod(pod)), *_of_deployment(deployment)])
    return "; ".join(said)[:_LONGEST]


def pod_selector(deployment: Object) -> str:
    """The labels of a Deployment's Pods, as a query asks for them."""
    labels = deployment["spec"]["selector"]["matchLabels"]
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _of_pod(pod: Object) -> Iterator[str]:
    status: Mapping[str, Any] = pod.get("status") or {}
    name = pod.get("metadata", {}).get("name", "a Pod")
    said = list(_of_status(name, status))
    starting = [each["state"]["waiting"]["reason"] for each in _containers(status) if _is_starting(each)]
    if starting and not said:
        yield f"{name}: waits in {starting[0]}; a Secret or ConfigMap may be missing, see `kubectl describe pod {name}`"
    yield from said


def _of_status(name: str, status: Mapping[str, Any]) -> Iterator[str]:
    if status.get("phase") == "Failed":  # evicted, say
        yield _told(name, status)
    for each in status.get("conditions") or []:
        if (each.get("type"), each.get("status")) == ("PodScheduled", "False"):
            yield _told(name, each)
    for each in _containers(status):
        place = f"{name}, container {each.get('name')}"
        waiting = (each.get("state") or {}).get("waiting")
        ended = (each.get("state") or {}).get("terminated") or (each.get("lastState") or {}).get("terminated")
        if waiting and not _is_starting(each):
            yield _told(place, waiting)
        if ended and ended.get("exitCode", 0) != 0:
            yield _told(place, {"reason": f"ended with exit code {ended['exitCode']}", **_only_message(ended)})
        elif not waiting and not each.get("ready"):
            yield f"{place}: runs and is not ready"


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _is_starting(container: Mapping[str, Any]) -> bool:
    waiting = (container.get("state") or {}).get("waiting") or {}
    return waiting.get("reason") in {"PodInitializing", "ContainerCreating"}


def _of_deployment(deployment: Object) -> Iterator[str]:
    """What keeps Pods from being made at all, such as a quota."""
    for each in (deployment.get("status") or {}).get("conditions") or []:
        if (each.get("type"), each.get("status")) == ("ReplicaFailure", "True"):
            yield _told("ReplicaFailure", each)


def _only_message(state: Mapping[str, Any]) -> dict[str, Any]:
    return {"message": state["message"]} if state.get("message") else {}


def _told(place: str, state: Mapping[str, Any]) -> str:
    message = " ".join(str(state.get("message") or "").split())
    return f"{place}: {state.get('reason', 'not ready')}{f' ({message})' if message else ''}"
