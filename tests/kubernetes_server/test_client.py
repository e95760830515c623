"""What a cluster's API server answers, and what comes of it."""

import socket

import pytest

from serving.cluster.api import open_api
from serving.cluster.calls import KINDS, Call
from serving.cluster.cluster import Cluster
from serving.cluster.refusals import FieldConflictError
from serving.cluster.stamps import Owner
from serving.kubernetes.manifests import all_objects, deployment, live_service, model_config, version_service
from slipway.errors import ConflictError, InputError, UnavailableError
from tests.kubernetes_server import statuses
from tests.kubernetes_server.scene import BASE, MODEL, served, unchanged
from tests.kubernetes_server.server import NAMESPACE

KEY = ("deployments", NAMESPACE, "digits-v2")


def test_every_object_is_applied_once_and_found_as_it_is_the_next_time(server, cluster, owner):
    documents = all_objects(served(2))
    assert [cluster.apply(owner, each) for each in documents] == [True] * len(documents)
    with unchanged(server):
        assert [cluster.apply(owner, each) for each in documents] == [False] * len(documents)
    assert len(server.writes) == len(documents) == len(set(server.writes))


def test_only_what_is_otherwise_is_sent_again(server, cluster, owner):
    for each in all_objects(served(2)):
        cluster.apply(owner, each)
    server.writes.clear()
    assert cluster.apply(owner, live_service(served(3)))
    assert server.live("digits") == 3
    assert server.writes == [("patch", "services", "digits")]


def test_a_conflict_is_tried_again_with_the_object_as_it_is_by_then(server, cluster, owner):
    cluster.apply(owner, deployment(served(2)))
    left = [2]

    def somebody_is_quicker(verb, resource, name):
        if left[0]:
            left[0] -= 1
            server.objects.touch((resource, NAMESPACE, name))

    server.before_write = somebody_is_quicker
    changed = deployment(served(2)) | {"metadata": {**deployment(served(2))["metadata"], "annotations": {}}}
    changed["metadata"]["annotations"] = {"slipway/model": MODEL, "note": "changed"}
    assert cluster.apply(owner, changed)
    assert left == [0]
    assert server.object("deployments", "digits-v2")["metadata"]["annotations"]["note"] == "changed"
    assert [write for write in server.writes if write[1] == "deployments"] == [("patch", *KEY[::2])] * 2


def test_an_object_that_changes_all_the_time_is_left_to_the_next_pass(server, cluster, owner):
    cluster.apply(owner, live_service(served(2)))
    server.before_write = lambda _verb, resource, name: server.objects.touch((resource, NAMESPACE, name))
    with unchanged(server), pytest.raises(ConflictError, match=r"the object has been modified.*Run the same command"):
        cluster.apply(owner, live_service(served(3)))


def test_a_field_that_another_manager_has_set_is_reported_and_not_forced(server, cluster, owner):
    cluster.apply(owner, live_service(served(2)))
    selector = {"slipway/name": "digits", "slipway/version": "1"}
    server.objects.set_by("kubectl-edit", ("services", NAMESPACE, "digits"), ("spec", "selector"), selector)
    with unchanged(server), pytest.raises(FieldConflictError, match=r"\.spec\.selector, which kubectl-edit has set"):
        cluster.apply(owner, live_service(served(2)))
    assert server.live("digits") == 1


def test_the_number_of_replicas_is_left_to_whoever_has_set_it(server, cluster, owner):
    cluster.apply(owner, deployment(served(2)))
    server.objects.set_by("horizontal-pod-autoscaler", KEY, ("spec", "replicas"), 7)
    with unchanged(server):
        assert not cluster.apply(owner, deployment(served(2)))
    other_image = deployment(served(2))
    other_image["spec"]["template"]["spec"]["containers"][0]["image"] = "slipway-serving:0.2.0"
    assert cluster.apply(owner, other_image)
    assert server.object("deployments", "digits-v2")["spec"]["replicas"] == 7


@pytest.mark.parametrize(
    ("verb", "resource", "group"),
    [("patch", "deployments", "apps"), ("get", "configmaps", ""), ("list", "services", "")],
)
def test_a_forbidden_verb_is_reported_with_the_rule_that_is_missing(server, cluster, owner, verb, resource, group):
    server.forbidden.add((verb, resource))
    needs = {
        "patch": lambda: cluster.apply(owner, deployment(served(2))),
        "get": lambda: cluster.apply(owner, model_config(served(2))),
        "list": lambda: cluster.versions(owner),
    }
    with pytest.raises(InputError) as refused:
        needs[verb]()
    message = str(refused.value)
    assert f"forbids {verb} of {resource} in namespace 'slipway'" in message
    assert f'apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]' in message
    assert "\n" not in message


def test_the_verb_is_the_one_that_the_cluster_names(server, cluster, owner):
    """Applying what is not there yet takes the right to create it as well."""
    said = statuses.forbidden("create", "deployments", "apps", NAMESPACE, "digits-v2")
    server.answers.append(("patch", "deployments", said, {}))
    with pytest.raises(InputError, match=r'forbids create of deployments.*verbs: \["create"\]'):
        cluster.apply(owner, deployment(served(2)))


def test_credentials_that_are_not_accepted(server, tmp_path, monkeypatch, owner):
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path, token="another")))
    with pytest.raises(InputError, match=r"does not know who asks \(Unauthorized\).*kubeconfig's user"):
        Cluster(open_api(), NAMESPACE).apply(owner, deployment(served(2)))


def test_a_namespace_that_is_not_there(server, api, owner):
    with pytest.raises(InputError, match=r"has no namespace 'nowhere'.*kubectl create namespace nowhere"):
        Cluster(api, "nowhere").apply(owner, version_service(served(2)))


def test_an_invalid_object_is_reported_with_the_clusters_causes(server, cluster, owner):
    wrong = deployment(served(2))
    wrong["spec"]["replicas"] = -1
    with pytest.raises(InputError, match=r"spec\.replicas: Invalid value: -1: must be greater than or equal to 0"):
        cluster.apply(owner, wrong)


def test_a_busy_server_is_asked_again_when_it_says(server, cluster, owner, pauses):
    server.answers += [
        ("patch", "deployments", statuses.too_many_requests(3), {"Retry-After": "3"}),
        ("patch", "deployments", statuses.unavailable(), {}),
        ("get", "deployments", statuses.status(500, "InternalError", "etcdserver: request timed out"), {}),
    ]
    assert cluster.apply(owner, deployment(served(2)))
    assert 3.0 in pauses
    assert len(pauses) == 3
    assert server.writes == [("patch", "deployments", "digits-v2")]


def test_a_server_that_stays_busy_is_waited_for_so_long_and_no_longer(server, cluster, owner, pauses):
    server.answers += [("get", "services", statuses.too_many_requests(9), {"Retry-After": "9"})] * 9
    with pytest.raises(UnavailableError, match=r"answered HTTP 429 to get services 'digits'.*not applied twice"):
        cluster.find("Service", "digits")
    assert sum(pauses) <= 20


def test_a_server_that_is_not_there_is_named(tmp_path, monkeypatch, server):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    file = server.kubeconfig(tmp_path)
    file.write_text(file.read_text().replace(server.address, f"http://127.0.0.1:{port}"))
    monkeypatch.setenv("KUBECONFIG", str(file))
    with pytest.raises(UnavailableError, match=rf"API server http://127\.0\.0\.1:{port} did not answer.*refused"):
        Cluster(open_api(), NAMESPACE).find("Service", "digits")


def test_a_kubeconfig_that_is_not_there_and_a_context_that_it_lacks(tmp_path, monkeypatch, server):
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
    with pytest.raises(InputError, match=r"kubeconfig .*other.*--context"):
        open_api("other")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"kubeconfig .*nothing.*KUBECONFIG"):
        open_api()


def test_without_the_extra_its_install_line_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "kubernetes", None)
    with pytest.raises(InputError, match=r"pip install 'slipway\[kubernetes\]'"):
        open_api()


def test_an_object_of_somebody_else_is_not_taken_over(server, cluster, owner):
    theirs = version_service(served(2))
    theirs["metadata"] = {"name": "digits-v2", "namespace": NAMESPACE, "labels": {"app": "shop"}}
    server.objects.apply(("services", NAMESPACE, "digits-v2"), "", theirs, "kubectl")
    with unchanged(server), pytest.raises(ConflictError, match=r"Service 'digits-v2'.*not of model 'digits'"):
        cluster.apply(owner, version_service(served(2)))


def test_pods_of_another_base_path_are_not_taken_over(server, cluster, owner):
    cluster.apply(Owner(MODEL, "s3://other/models"), deployment(served(2)))
    with unchanged(server):
        with pytest.raises(ConflictError, match=rf"follows base path s3://other/models, and this pass is for {BASE}"):
            cluster.apply(owner, deployment(served(2)))
        with pytest.raises(ConflictError):
            cluster.versions(owner)
        with pytest.raises(ConflictError):
            cluster.delete_version(owner, 2)


def test_only_one_models_version_is_deleted(server, cluster, owner):
    for version in (1, 2):
        for each in all_objects(served(version)):
            cluster.apply(owner, each)
    for kind, name in (("services", "digits-v9"), ("configmaps", "shop")):
        theirs = {"kind": "Service", "metadata": {"name": name, "labels": {"slipway/version": "1"}}}
        server.objects.apply((kind, NAMESPACE, name), "", theirs, "kubectl")
    server.writes.clear()
    assert cluster.delete_version(owner, 1) == 3
    assert {write[0] for write in server.writes} == {"delete"}
    assert server.there("deployments") == {"digits-v2"}
    assert server.there("services") == {"digits", "digits-v2", "digits-v9"}
    assert server.there("configmaps") == {"digits-v2", "shop"}
    assert cluster.delete_version(owner, 1) == 0


def test_what_came_in_the_place_of_an_object_is_not_deleted(server, cluster, owner):
    cluster.apply(owner, version_service(served(1)))

    def replaced(verb, resource, name):
        server.before_write = lambda *_words: None
        key = (resource, NAMESPACE, name)
        there = server.objects.get(key)
        server.objects.delete(key, "", None)
        server.objects.apply(key, "", {**there, "metadata": {**there["metadata"], "resourceVersion": None}}, "kubectl")

    server.before_write = replaced
    assert cluster.delete_version(owner, 1) == 0
    assert server.there("services") == {"digits-v1"}


def test_a_connection_that_was_closed_meanwhile_is_opened_again(server, cluster, monkeypatch):
    import urllib3.exceptions

    client, failures = cluster.api._client, [1]
    send = client.call_api

    def closed_once(*words, **more):
        if failures.pop() if failures else 0:
            raise urllib3.exceptions.ProtocolError("Connection aborted.")
        return send(*words, **more)

    monkeypatch.setattr(client, "call_api", closed_once)
    assert cluster.find("Service", "digits") is None


def test_the_paths_are_those_of_kubernetes():
    call = Call("patch", KINDS["HorizontalPodAutoscaler"], "slipway", "digits", query={"fieldManager": "slipway"})
    assert call.path == ("/apis/autoscaling/v2/namespaces/slipway/horizontalpodautoscalers/digits?fieldManager=slipway")
    proxied = Call("create", KINDS["Service"], "slipway", "digits-v2:rest", rest="/proxy/v1/models/digits:predict")
    assert proxied.path == "/api/v1/namespaces/slipway/services/digits-v2:rest/proxy/v1/models/digits:predict"
    assert proxied.resource == "services/proxy"
