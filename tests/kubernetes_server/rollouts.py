"""What controllers make of a Deployment: it gets ready after it was looked at some times, or never."""

READY_AFTER_LOOKS = 3


def waiting_pod(reason, message):
    """A Pod's status whose server waits for that reason."""
    server = {"name": "server", "ready": False, "restartCount": 0}
    return {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True"}],
        "initContainerStatuses": [{"name": "sync", "ready": True, "state": {"running": {}}}],
        "containerStatuses": [{**server, "state": {"waiting": {"reason": reason, "message": message}}}],
    }


def unready_pod():
    """A Pod's status whose server runs, and whose readiness probe fails."""
    server = {"name": "server", "ready": False, "restartCount": 0, "state": {"running": {}}}
    return {"phase": "Running", "conditions": [], "containerStatuses": [server]}


def unschedulable_pod():
    """A Pod's status that no node has room for."""
    message = "0/3 nodes are available: 3 Insufficient cpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


class Rollouts:
    """Per Deployment how often it was looked at since it changed; `never` has the Pods of those that fail."""

    def __init__(self):
        self.never = {}  # name -> a Pod's status
        self.deadline_exceeded = True  # whether Kubernetes gives up on these
        self._looks = {}

    def status(self, deployment):
        """The status at this look."""
        metadata, wanted = deployment["metadata"], deployment["spec"]["replicas"]
        this = (metadata["uid"], metadata["generation"])
        looks = self._looks[this] = self._looks.get(this, 0) + 1
        if looks == 1:
            return {"observedGeneration": metadata["generation"] - 1, "replicas": 0}
        fails = metadata["name"] in self.never
        ready = 0 if fails or looks < READY_AFTER_LOOKS else wanted
        moving = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
        if fails and self.deadline_exceeded and looks >= READY_AFTER_LOOKS:
            moving = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
        return {
            "observedGeneration": metadata["generation"],
            "replicas": wanted,
            "updatedReplicas": wanted,
            **({"readyReplicas": ready, "availableReplicas": ready} if ready else {"unavailableReplicas": wanted}),
            "conditions": [moving],
        }

    def is_available(self, deployment):
        """Whether its Pods answer, as far as anybody has looked."""
        this = (deployment["metadata"]["uid"], deployment["metadata"]["generation"])
        return deployment["metadata"]["name"] not in self.never and self._looks.get(this, 0) >= READY_AFTER_LOOKS

    def pods(self, deployment):
        """Its Pods."""
        name, labels = deployment["metadata"]["name"], deployment["spec"]["template"]["metadata"]["labels"]
        ready = {"phase": "Running", "containerStatuses": [{"name": "server", "ready": True, "state": {"running": {}}}]}
        for number in range(deployment["spec"]["replicas"]):
            metadata = {"name": f"{name}-7d9c5-{number}", "labels": labels}
            yield {"metadata": metadata, "status": self.never.get(name, ready)}
