"""The target kubernetes: applied, waited for, asked, turned to; and undone where a version is refused."""

import pytest

from pipeline.reconcile.cluster_golden import Route as RealRoute
from pipeline.reconcile.cluster_golden import route
from pipeline.reconcile.serving import MovedOnError, RefusedError, Waiting
from serving.cluster.cluster import Cluster
from serving.cluster.service_proxy import ServiceProxy
from serving.kubernetes.manifests import all_objects, live_service, version_service
from serving.model_config import Wanted
from slipway.errors import ConflictError, InputError, UnavailableError
from tests.kubernetes_server.rollouts import unready_pod, unschedulable_pod, waiting_pod
from tests.kubernetes_server.scene import (
    MODEL,
    Route,
    model_version,
    served,
    serving,
    unchanged,
    waiting,
)
from tests.kubernetes_server.server import NAMESPACE

OF_A_VERSION = {"configmaps", "deployments", "services"}


def go_live(target, number, final=None):
    """All that a pass asks of the target for a version that goes live, but for what it publishes and records."""
    version = model_version(number)
    target.await_loaded(version, waiting())
    target.verify(version)
    target.await_live(version, waiting())
    target.converge(MODEL, final or Wanted(number))


def test_a_version_comes_up_beside_the_live_one_and_the_service_turns_to_it_at_the_end(server, cluster):
    target = serving(cluster)
    go_live(target, 1)
    target.await_loaded(model_version(2), waiting())
    assert server.there("deployments") == {"digits-v1", "digits-v2"}
    assert server.live(MODEL) == 1
    target.verify(model_version(2))
    assert server.live(MODEL) == 1
    target.await_live(model_version(2), waiting())
    assert server.live(MODEL) == 2
    autoscaler = server.object("horizontalpodautoscalers", MODEL)
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == "digits-v2"
    (report,) = target.report(MODEL)
    assert (report.live, report.lists_it) == (2, True)
    assert report.state(1).is_available


def test_nothing_is_applied_twice(server, cluster):
    route = Route()
    target = serving(cluster, route)
    go_live(target, 1)
    go_live(target, 2, Wanted(2, previous=1))
    assert len(server.writes) == len(set(server.writes)) + 3, "the model's Service, autoscaler and budget turned once"
    with unchanged(server):
        go_live(target, 2, Wanted(2, previous=1))
        serving(cluster).converge(MODEL, Wanted(2, previous=1))
    assert route.asked == [1, 2, 2]


def test_what_pods_need_is_there_before_them_and_the_service_comes_last(server, cluster):
    go_live(serving(cluster), 1)
    order = [resource for _, resource, _ in server.writes]
    assert order.index("serviceaccounts") < order.index("configmaps") < order.index("deployments")
    live = server.writes.index(("patch", "services", MODEL))
    assert live > server.writes.index(("patch", "services", "digits-v1"))
    assert live > order.index("deployments")


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (
            waiting_pod("ImagePullBackOff", 'Back-off pulling image "nowhere/server:1"'),
            r"server: ImagePullBackOff \(Back",
        ),
        (waiting_pod("CrashLoopBackOff", "back-off 5m0s restarting"), r"CrashLoopBackOff \(back-off"),
        (unready_pod(), "container server: runs and is not ready"),
        (
            waiting_pod("ContainerCreating", ""),
            r"waits in ContainerCreating; a Secret or ConfigMap may be missing, see `",
        ),
        (unschedulable_pod(), r"Unschedulable \(0/3 nodes are available: 3 Insufficient cpu\.\)"),
    ],
)
def test_a_rollout_that_never_gets_ready_is_undone_and_says_why(server, cluster, pod, reason):
    target = serving(cluster)
    go_live(target, 1)
    before = {resource: server.there(resource) for resource in OF_A_VERSION}
    server.rollouts.never["digits-v2"] = pod
    with pytest.raises(RefusedError, match=rf"digits-v2: ProgressDeadlineExceeded: 2 of 2 Pods.*{reason}"):
        target.await_loaded(model_version(2), waiting())
    assert {resource: server.there(resource) for resource in OF_A_VERSION} == before
    assert server.live(MODEL) == 1


def test_a_rollout_is_waited_for_so_long_and_no_longer(server, cluster):
    server.rollouts.never["digits-v2"] = unready_pod()
    server.rollouts.deadline_exceeded = False
    with pytest.raises(RefusedError, match=r"not ready within 1 s: 2 of 2 Pods are there, 0 available; .*not ready"):
        serving(cluster).await_loaded(model_version(2), waiting(1.0))
    assert server.there("deployments") == set()


def test_why_pods_are_not_ready_is_left_out_where_nobody_may_see_them(server, cluster):
    server.rollouts.never["digits-v2"] = unready_pod()
    server.forbidden.add(("list", "pods"))
    with pytest.raises(RefusedError, match=r"ProgressDeadlineExceeded: 2 of 2 Pods are there, 0 available$"):
        serving(cluster).await_loaded(model_version(2), waiting())


def test_a_version_that_answers_otherwise_is_undone_and_the_service_never_turns(server, cluster):
    target = serving(cluster, Route(wrong={2}))
    go_live(target, 1)
    target.await_loaded(model_version(2), waiting())
    turns = [write for write in server.writes if write == ("patch", "services", MODEL)]
    with pytest.raises(RefusedError, match="answers otherwise"):
        target.verify(model_version(2))
    assert server.there("deployments") == {"digits-v1"}
    assert [write for write in server.writes if write == ("patch", "services", MODEL)] == turns
    assert server.live(MODEL) == 1


def test_a_forbidden_proxy_refuses_no_version(server, cluster):
    server.forbidden.add(("create", "services/proxy"))
    proxy = ServiceProxy(cluster.api, NAMESPACE, "digits-v2", "rest")
    target = serving(cluster, Route(ask_first=lambda: proxy.post("/v1/models/digits:predict", {})))
    target.await_loaded(model_version(2), waiting())
    with pytest.raises(InputError, match=r'resources: \["services/proxy"\], verbs: \["create"\]') as error:
        target.verify(model_version(2))
    assert not isinstance(error.value, RefusedError)
    assert server.there("deployments") == {"digits-v2"}


def test_what_is_no_longer_wanted_is_not_waited_for(server, cluster):
    def moved_on():
        raise MovedOnError("the alias has moved")

    server.rollouts.never["digits-v2"] = unready_pod()
    server.rollouts.deadline_exceeded = False
    with pytest.raises(MovedOnError):
        serving(cluster).await_loaded(model_version(2), Waiting(60, moved_on))
    serving(cluster).converge(MODEL, Wanted())
    assert server.there("deployments") == set()


def test_a_rollback_turns_the_service_back_and_brings_nothing_up(server, cluster):
    target = serving(cluster)
    go_live(target, 1)
    go_live(target, 2, Wanted(2, previous=1))
    server.writes.clear()
    done = serving(cluster).converge(MODEL, Wanted(1, previous=2))
    assert done == ("turn Service slipway/digits to version 1",)
    assert server.live(MODEL) == 1
    assert {resource for _, resource, _ in server.writes} == {
        "services",
        "horizontalpodautoscalers",
        "poddisruptionbudgets",
    }


def test_a_rollback_waits_for_pods_and_asks_them_although_they_answered_before(server, cluster):
    route = Route()
    target = serving(cluster, route)
    go_live(target, 1)
    go_live(target, 2, Wanted(2, previous=1))
    route.asked.clear()
    server.rollouts.never["digits-v1"] = unready_pod()
    server.objects.touch(("deployments", NAMESPACE, "digits-v1"))
    with pytest.raises(UnavailableError, match="What answered there before goes on"):
        target.converge(MODEL, Wanted(1, previous=2))
    assert (server.live(MODEL), server.there("deployments")) == (2, {"digits-v1", "digits-v2"})
    server.rollouts.never.clear()
    target.converge(MODEL, Wanted(1, previous=2))
    assert (server.live(MODEL), route.asked) == (1, [1])


@pytest.mark.parametrize("pods", [0, 1])
def test_a_version_that_was_made_small_has_the_live_ones_load_before_the_service_turns(server, cluster, pods):
    target = serving(cluster)
    go_live(target, 1)
    go_live(target, 2, Wanted(2, previous=1))
    for name, count in (("digits-v1", pods), ("digits-v2", 6)):
        server.objects.set_by("kubectl-scale", ("deployments", NAMESPACE, name), ("spec", "replicas"), count)
    target.converge(MODEL, Wanted(1, previous=2))
    assert server.live(MODEL) == 1
    assert server.object("deployments", "digits-v1")["spec"]["replicas"] == 6


def test_nothing_turns_to_a_version_that_is_no_longer_wanted_once_it_is_ready(server, cluster):
    def moved_on():
        raise MovedOnError("the alias has moved")

    target = serving(cluster)
    go_live(target, 1)
    target.await_loaded(model_version(2), waiting())
    target.verify(model_version(2))
    with pytest.raises(MovedOnError):
        target.await_live(model_version(2), Waiting(60, moved_on))
    assert server.live(MODEL) == 1


def test_a_version_that_a_rollback_finds_gone_comes_up_and_answers_before_the_service_turns(server, cluster):
    route = Route()
    target = serving(cluster, route)
    go_live(target, 2)
    route.asked.clear()
    server.rollouts.never["digits-v1"] = unready_pod()
    with pytest.raises(UnavailableError, match=r"live by the config files, and not by Service slipway/digits: .*not"):
        target.converge(MODEL, Wanted(1, previous=2))
    assert server.live(MODEL) == 2
    server.rollouts.never.clear()
    server.objects.touch(("deployments", NAMESPACE, "digits-v1"))
    target.converge(MODEL, Wanted(1, previous=2))
    assert (server.live(MODEL), route.asked) == (1, [1])


def test_a_rollout_of_the_live_version_that_a_killed_pass_left_is_waited_for_and_asked(server, cluster):
    go_live(serving(cluster), 1)
    other_image = {"kubernetes.sync_image": "slipway-sync:0.2.0"}

    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serving(cluster, Route(ask_first=killed), **other_image).converge(MODEL, Wanted(1))
    server.rollouts.never["digits-v1"] = unready_pod()
    route = Route()
    target = serving(cluster, route, **other_image)
    with pytest.raises(UnavailableError, match=r"version 1 is live by the config files, and not by .*not"):
        target.converge(MODEL, Wanted(1))
    server.rollouts.never.clear()
    server.objects.touch(("deployments", NAMESPACE, "digits-v1"))
    target.converge(MODEL, Wanted(1))
    with unchanged(server):
        target.converge(MODEL, Wanted(1))
    assert route.asked == [1]


def test_versions_that_nobody_keeps_are_deleted(server, cluster):
    target = serving(cluster)
    for number in (1, 2, 3, 4):
        target.await_loaded(model_version(number), waiting())
    done = target.converge(MODEL, Wanted(3, previous=2, challenger=4, canary=True))
    assert server.there("deployments") == server.there("configmaps") == {"digits-v2", "digits-v3", "digits-v4"}
    assert done[-1] == "delete what served version 1 from namespace slipway"
    assert target.converge(MODEL, Wanted(3, previous=2, challenger=4, canary=True)) == ()


def test_what_is_left_of_a_deletion_that_was_killed_goes_too(server, cluster, owner):
    target = serving(cluster)
    go_live(target, 1)
    cluster.apply(owner, version_service(served(2)))
    target.converge(MODEL, Wanted(1))
    assert server.there("services") == {MODEL, "digits-v1"}


def test_what_is_live_is_not_deleted_unless_the_model_is_retired(server, cluster):
    go_live(serving(cluster), 1)
    assert serving(cluster).converge(MODEL, Wanted()) == ()
    assert server.live(MODEL) == 1
    retiring = serving(cluster, **{"reconcile.allow_retire": True})
    assert retiring.converge(MODEL, Wanted()) == ("delete 8 objects from namespace slipway",)
    left = {resource for resource in (*OF_A_VERSION, "serviceaccounts", "networkpolicies") if server.there(resource)}
    assert left == set()
    assert retiring.converge(MODEL, Wanted()) == ()


def test_pods_of_another_base_path_are_left_alone_by_every_step(server, cluster):
    go_live(serving(cluster), 1)
    other = serving(cluster, base="s3://elsewhere/models", **{"reconcile.allow_retire": True})
    steps = (
        lambda: other.report(MODEL),
        lambda: other.await_loaded(model_version(2), waiting()),
        lambda: other.await_live(model_version(1), waiting()),
        lambda: other.converge(MODEL, Wanted(2)),
        lambda: other.converge(MODEL, Wanted()),
    )
    for step in steps:
        with unchanged(server), pytest.raises(ConflictError, match="follows base path s3://bucket/models"):
            step()


def test_a_new_version_has_as_many_pods_as_the_one_that_it_relieves(server, cluster):
    target = serving(cluster)
    go_live(target, 1)
    key = ("deployments", NAMESPACE, "digits-v1")
    server.objects.set_by("horizontal-pod-autoscaler", key, ("spec", "replicas"), 6)
    target.await_loaded(model_version(2), waiting())
    assert server.object("deployments", "digits-v2")["spec"]["replicas"] == 6


def test_a_live_version_whose_pods_are_gone_is_said_to_answer_nothing(server, cluster, owner):
    target = serving(cluster)
    go_live(target, 1)
    cluster.delete_version(owner, 1)
    (report,) = target.report(MODEL)
    assert report.live is None
    assert report.state(1).error == "it has no Deployment"
    target.converge(MODEL, Wanted(1))
    assert target.report(MODEL)[0].live == 1


def test_a_model_that_is_not_there_yet_is_reported_as_nothing(cluster):
    (report,) = serving(cluster).report(MODEL)
    assert (report.live, report.lists_it) == (None, False)


def test_a_service_that_somebody_has_turned_is_reported(server, cluster):
    target = serving(cluster)
    go_live(target, 1)
    go_live(target, 2, Wanted(2, previous=1))
    selector = {"slipway/name": MODEL, "slipway/version": "1"}
    server.objects.set_by("kubectl-edit", ("services", NAMESPACE, MODEL), ("spec", "selector"), selector)
    with unchanged(server), pytest.raises(ConflictError, match="kubectl-edit"):
        target.converge(MODEL, Wanted(2, previous=1))
    assert target.report(MODEL)[0].live == 1


def test_objects_that_kubectl_applied_from_an_export_are_taken_on(server, cluster):
    for each in all_objects(served(1)):
        resource = {"ConfigMap": "configmaps", "Deployment": "deployments", "Service": "services"}.get(each["kind"])
        if resource:
            server.objects.apply((resource, NAMESPACE, each["metadata"]["name"]), "", each, "slipway")
    serving(cluster).converge(MODEL, Wanted(1))
    assert server.object("services", MODEL)["metadata"]["annotations"]["slipway/base-path"] == "s3://bucket/models"
    assert live_service(served(1))["spec"]["selector"] == server.object("services", MODEL)["spec"]["selector"]


def test_a_pass_for_another_namespace_does_not_touch_this_one(server, cluster):
    go_live(serving(cluster), 1)
    with unchanged(server):
        assert serving(Cluster(cluster.api, "default")).report(MODEL)[0].live is None


@pytest.mark.parametrize("pattern", ["http://model-server:8501", "{service}", "ftp://{service}:21"])
def test_a_route_that_could_reach_another_version_is_refused(pattern):
    with pytest.raises(InputError, match=r"service|scheme|port"):
        RealRoute(pattern)


def test_the_route_inside_a_pod_is_the_services_name_and_outside_the_proxy(monkeypatch):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert route(None).pattern == "proxy"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    assert route(None).pattern == "grpc://{service}.{namespace}.svc:8500"
    monkeypatch.setenv("KUBECONFIG", "/home/ada/.kube/config")
    assert route(None).pattern == "proxy"
    assert route("http://{service}.serving.example:80").pattern == "http://{service}.serving.example:80"
