"""The objects by which a cluster serves a model: each version by itself, and a Service that names the live one.

A new version is applied beside the live one, answers its golden requests at its own Service, and then the model's
Service is pointed at it. The old one stays for a rollback, until it is deleted.
"""

from serving.kubernetes.objects import Object, of_version, version_annotations, version_labels, version_metadata
from serving.kubernetes.pods import model_config, pod
from serving.kubernetes.policies import autoscaler, disruption_budget, network_policy, service_account
from serving.kubernetes.resources import LOAD_S, SYNC_S
from serving.kubernetes.services import live_service, version_service
from serving.kubernetes.spec import ServedVersion


def model_objects(served: ServedVersion) -> list[Object]:
    """What the Pods of any version of the model need before they come; the same for each version.

    They go when the model goes, not with a version.
    """
    return [service_account(served), network_policy(served)]


def version_objects(served: ServedVersion) -> list[Object]:
    """What is one version's own: its ConfigMap, Deployment and Service. Nothing of it changes what is live."""
    return [model_config(served), deployment(served), version_service(served)]


def live_objects(served: ServedVersion) -> list[Object]:
    """What makes this version live: the model's Service, its autoscaler and its disruption budget point at it."""
    return [live_service(served), autoscaler(served), disruption_budget(served)]


def shared_objects(served: ServedVersion) -> list[Object]:
    """What the model has once, whatever is live: `model_objects`, then `live_objects` that name this version."""
    return [*model_objects(served), *live_objects(served)]


def all_objects(served: ServedVersion) -> list[Object]:
    """Everything, in the order in which it is applied."""
    return [*model_objects(served), *version_objects(served), *live_objects(served)]


def deployment(served: ServedVersion) -> Object:
    """The version's Deployment, `<name>-v<version>`."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": version_metadata(served),
        "spec": {
            "replicas": served.settings.replicas,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": SYNC_S + LOAD_S + 60,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": of_version(served)},
            "template": {
                "metadata": {"labels": version_labels(served), "annotations": version_annotations(served)},
                "spec": pod(served),
            },
        },
    }
