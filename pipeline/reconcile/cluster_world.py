"""A world whose models a Kubernetes cluster serves."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.config import Config
from pipeline.reconcile.cluster_golden import Route, route
from pipeline.reconcile.cluster_serving import ClusterServing
from pipeline.reconcile.world import World
from pipeline.s3_endpoint import told_endpoint
from serving.cluster.api import Api, open_api
from serving.cluster.cluster import Cluster
from slipway.errors import InputError


@dataclass(frozen=True)
class ClusterDoor:
    """How a cluster is reached, and its versions."""

    api: Api
    route: Route


@contextlib.contextmanager
def cluster_door(config: Config, context: str | None, ask_at: str | None) -> Iterator[ClusterDoor]:
    """The cluster of the kubeconfig's `context`; InputError if there is none, or if its nodes cannot read the base."""
    if not config.base.startswith("s3://"):
        raise InputError(
            f"base {config.base!r}: a cluster's nodes do not have this machine's disk; expected s3://BUCKET/PREFIX. "
            "Edit it or pass --base."
        )
    way = route(ask_at)
    with contextlib.closing(open_api(context)) as api:
        yield ClusterDoor(api, way)


def cluster_world(world: World, door: ClusterDoor) -> World:
    """`world` with the cluster in the place of the servers that follow the base path."""
    config = world.config
    told = replace(config, s3_endpoint=told_endpoint(config))
    serving = ClusterServing(Cluster(door.api, config.kubernetes.namespace), told, world.registry, door.route)
    return replace(world, serving=serving, converge=serving.converge)
