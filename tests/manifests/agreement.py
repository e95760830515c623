"""What no schema says: that the objects of an installation fit each other, and that each container is closed."""

CREATED_BY_HAND = {"slipway-s3", "slipway-access-tokens", "slipway-reconciler", "slipway-mlflow", "slipway-setup"}
CREATED_BY_HAND |= {"slipway-mlflow-login", "slipway-token-prometheus", "slipway-drift", "keys"}
JOBS = {"Job", "CronJob"}


def findings(objects):
    """One line for each thing that does not fit."""
    return [text for check in _CHECKS for text in check(objects)]


def templates(objects):
    """Kind, name, labels and spec of every Pod's template."""
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            template = spec["template"]
            yield each["kind"], each["metadata"]["name"], template["metadata"].get("labels", {}), template["spec"]


def containers(pod):
    return [*pod.get("initContainers", []), *pod["containers"]]


def _all_containers(objects):
    for kind, name, _, pod in templates(objects):
        for container in containers(pod):
            yield f"{kind} {name}: container {container['name']}", kind, pod, container


def _named(objects, kind):
    return {each["metadata"]["name"] for each in objects if each["kind"] == kind}


def _names(objects):
    seen = set()
    for each in objects:
        key = (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
        if key in seen:
            yield f"{key} is there twice"
        seen.add(key)


def _pods_are_closed(objects):
    for kind, name, _, pod in templates(objects):
        security = pod.get("securityContext", {})
        if not (security.get("runAsNonRoot") and security.get("runAsUser", 0) > 0):
            yield f"{kind} {name}: may run as root"
        if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{kind} {name}: has no seccomp profile"
        if "automountServiceAccountToken" not in pod:
            yield f"{kind} {name}: does not say whether it has a token"
        for field in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
            if pod.get(field):
                yield f"{kind} {name}: {field}"


def _containers_are_closed(objects):
    for place, _, _, container in _all_containers(objects):
        security = container.get("securityContext", {})
        wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        for key, value in wanted.items():
            if security.get(key) != value:
                yield f"{place}: {key} is {security.get(key)}"
        resources = container.get("resources", {})
        for part in ("requests", "limits"):
            if set(resources.get(part, {})) < {"cpu", "memory"}:
                yield f"{place}: no {part}"
        if ":" not in container.get("image", "") or container["image"].endswith(":latest"):
            yield f"{place}: the image has no version"
        for variable in container.get("env", []):
            if "SECRET" in variable["name"] or "PASSWORD" in variable["name"]:
                yield f"{place}: {variable['name']} stands in a manifest"


def _probes(objects):
    for place, kind, _, container in _all_containers(objects):
        for probe in () if kind in JOBS else ("startupProbe", "livenessProbe", "readinessProbe"):
            action = container.get(probe)
            if action is None:
                yield f"{place}: no {probe}"
                continue
            ports = {each["name"] for each in container.get("ports", [])}
            asked = action.get("httpGet", {}).get("port") or action.get("tcpSocket", {}).get("port")
            if ("exec" in action) == bool(asked) or (asked and asked not in ports):
                yield f"{place}: {probe} asks port {asked}; there are {sorted(ports)}"


def _volumes(objects):
    for kind, name, _, pod in templates(objects):
        volumes = {each["name"]: each for each in pod.get("volumes", [])}
        mounted = {each["name"] for container in containers(pod) for each in container.get("volumeMounts", [])}
        if mounted != set(volumes):
            yield f"{kind} {name}: mounts {sorted(mounted)}, volumes {sorted(volumes)}"
        for each in volumes.values():
            if "emptyDir" in each and "sizeLimit" not in each["emptyDir"]:
                yield f"{kind} {name}: volume {each['name']} may grow without end"


def _references(objects):
    maps, accounts = _named(objects, "ConfigMap"), _named(objects, "ServiceAccount")
    claims = _named(objects, "PersistentVolumeClaim")
    for kind, name, _, pod in templates(objects):
        sources = [source for container in containers(pod) for source in container.get("envFrom", [])]
        asked = {each["configMapRef"]["name"] for each in sources if "configMapRef" in each}
        asked |= {each["configMap"]["name"] for each in pod.get("volumes", []) if "configMap" in each}
        secrets = {each["secretRef"]["name"] for each in sources if "secretRef" in each}
        secrets |= {each["secret"]["secretName"] for each in pod.get("volumes", []) if "secret" in each}
        if missing := (asked - maps - CREATED_BY_HAND) | (secrets - CREATED_BY_HAND):
            yield f"{kind} {name}: refers to {sorted(missing)}"
        volumes = [each["persistentVolumeClaim"] for each in pod.get("volumes", []) if "persistentVolumeClaim" in each]
        if missing := {each["claimName"] for each in volumes} - claims:
            yield f"{kind} {name}: claims {sorted(missing)}"
        if pod.get("serviceAccountName", "default") not in accounts | {"default"}:
            yield f"{kind} {name}: runs as {pod['serviceAccountName']}"
    for each in objects:
        if each["kind"] == "Secret":
            yield f"Secret {each['metadata']['name']} stands in a manifest"


def _selectors(objects):
    pods = [(name, labels, pod) for _, name, labels, pod in templates(objects)]
    for each in objects:
        spec, place = each.get("spec", {}), f"{each['kind']} {each['metadata']['name']}"
        if each["kind"] == "Deployment":
            own = spec["template"]["metadata"]["labels"]
            yield from _chosen_by(place, spec["selector"]["matchLabels"], [("", own)])
        elif each["kind"] == "PodDisruptionBudget":
            yield from _chosen_by(place, spec["selector"]["matchLabels"], pods)
        elif each["kind"] == "NetworkPolicy":
            yield from _chosen_by(place, spec["podSelector"].get("matchLabels", {}), pods)
        elif each["kind"] == "Service":
            yield from _chosen_by(place, spec["selector"], pods)
            yield from _served_by(place, spec, pods)


def _spreads(objects):
    for kind, name, labels, pod in templates(objects):
        for spread in pod.get("topologySpreadConstraints", []):
            if not spread["labelSelector"]["matchLabels"].items() <= labels.items():
                yield f"{kind} {name}: spreads other Pods than its own"


def _chosen_by(place, selector, among):
    if not any(selector.items() <= labels.items() for _, labels, *_ in among):
        yield f"{place}: chooses no Pod by {selector}"


def _served_by(place, spec, pods):
    chosen = [(name, pod) for name, labels, pod in pods if spec["selector"].items() <= labels.items()]
    there = {port["name"] for _, pod in chosen for container in containers(pod) for port in container.get("ports", [])}
    if wrong := {port["targetPort"] for port in spec["ports"]} - there:
        yield f"{place}: sends to {sorted(wrong)}; there are {sorted(there)}"
    if len({name for name, _ in chosen}) > 1:
        yield f"{place}: chooses Pods of several Deployments"


def _scaling(objects):
    deployments = {each["metadata"]["name"]: each for each in objects if each["kind"] == "Deployment"}
    for each in objects:
        if each["kind"] != "HorizontalPodAutoscaler":
            continue
        target = each["spec"]["scaleTargetRef"]["name"]
        if target not in deployments:
            yield f"HorizontalPodAutoscaler {each['metadata']['name']}: scales {target}"
            continue
        there = {container["name"] for container in deployments[target]["spec"]["template"]["spec"]["containers"]}
        for metric in each["spec"]["metrics"]:
            if metric["containerResource"]["container"] not in there:
                yield f"HorizontalPodAutoscaler {each['metadata']['name']}: measures another container"


def _endings(objects):
    """A server has time to answer what it has begun: what it waits before it hears, and what it then drains."""
    for place, _, pod, container in _all_containers(objects):
        rest = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        drains = [int(word.partition("=")[2]) for word in container.get("args", []) if "drain_timeout" in word]
        if rest + sum(drains) >= pod.get("terminationGracePeriodSeconds", 30):
            yield f"{place}: is ended before it has answered"


_CHECKS = (
    _names,
    _pods_are_closed,
    _containers_are_closed,
    _probes,
    _volumes,
    _references,
    _selectors,
    _spreads,
    _scaling,
    _endings,
)
