import pytest
from google.protobuf import text_format

from serving.kubernetes.kserve import kserve_objects
from serving.kubernetes.manifests import all_objects, live_objects, model_objects, shared_objects, version_objects
from serving.kubernetes.spec import ENGINES, ClusterSettings, ServedVersion
from serving.wire.model_server_config_pb2 import ModelServerConfig
from slipway.errors import InputError

DIGEST = "ab" * 32


def served(name="pets", version=3, endpoint=None, **settings):
    return ServedVersion(name, version, DIGEST, "s3://b/p/", endpoint, ClusterSettings(**settings))


def part(objects, kind, name=None):
    return next(each for each in objects if each["kind"] == kind and name in {None, each["metadata"]["name"]})


def pod(each):
    return part(version_objects(each), "Deployment")["spec"]["template"]["spec"]


def arguments(container):
    return dict(word.removeprefix("--").partition("=")[::2] for word in container["args"])


def test_a_version_has_objects_of_its_own_and_what_is_live_is_not_among_them():
    assert [(each["kind"], each["metadata"]["name"]) for each in version_objects(served())] == [
        ("ConfigMap", "pets-v3"),
        ("Deployment", "pets-v3"),
        ("Service", "pets-v3"),
    ]
    assert not {each["metadata"]["name"] for each in version_objects(served(version=4))} & {"pets", "pets-v3"}


def test_what_versions_share_is_the_same_for_each_and_what_names_the_live_one_is_not():
    assert model_objects(served(version=3)) == model_objects(served(version=4))
    for one, other in zip(live_objects(served(version=3)), live_objects(served(version=4)), strict=True):
        assert one["metadata"]["name"] == other["metadata"]["name"] == "pets"
        assert one["spec"] != other["spec"]
    assert shared_objects(served()) == [*model_objects(served()), *live_objects(served())]
    assert len(all_objects(served())) == len(shared_objects(served())) + len(version_objects(served()))


def test_a_version_tells_its_model_number_and_digest():
    labels = {"slipway/name": "my-pets-3dbf4c0c", "slipway/model": "My_Pets", "slipway/version": "3"}
    for each in version_objects(served("My_Pets")):
        assert {key: each["metadata"]["labels"][key] for key in labels}["slipway/model"] == "My_Pets"
        assert each["metadata"]["annotations"] == {"slipway/model": "My_Pets", "slipway/digest": DIGEST}


def test_a_name_that_no_label_may_have_is_an_annotation_alone():
    (service, *_) = live_objects(served("pets_"))
    assert "slipway/model" not in service["metadata"]["labels"]
    assert service["metadata"]["annotations"]["slipway/model"] == "pets_"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_server_is_told_this_version_alone_and_that_it_is_the_stable_one(engine):
    each = served("My_Pets", server_engine=engine)
    config = text_format.Parse(part(version_objects(each), "ConfigMap")["data"]["models.config"], ModelServerConfig())
    (model,) = config.model_config_list.config
    assert model.name == "My_Pets"
    assert model.base_path == "/models/My_Pets"
    assert list(model.model_version_policy.specific.versions) == [3]
    assert dict(model.version_labels) == {"stable": 3}
    (server,) = pod(each)["containers"]
    assert arguments(server)["model_config_file"] == "/config/models.config"


def test_the_sidecar_starts_before_the_server_and_mirrors_this_version_alone():
    (sync,) = pod(served(endpoint="http://s3:9000"))["initContainers"]
    assert sync["restartPolicy"] == "Always"
    assert arguments(sync) == {
        "from": "s3://b/p",
        "to": "/models",
        "model": "pets",
        "version": "3",
        "host": "0.0.0.0",
        "port": "8600",
    }
    assert {"name": "AWS_ENDPOINT_URL_S3", "value": "http://s3:9000"} in sync["env"]
    assert sync["envFrom"] == [{"secretRef": {"name": "slipway-s3"}}]


def test_the_embedded_server_asks_for_tokens_unless_there_are_none():
    (server,) = pod(served())["containers"]
    assert arguments(server)["access_tokens_file"] == "/access-tokens/tokens"
    assert "insecure" not in arguments(server)
    (server,) = pod(served(tokens_secret=""))["containers"]
    assert "insecure" in arguments(server)
    assert "access_tokens_file" not in arguments(server)


def test_with_trusted_keys_both_the_sidecar_and_the_embedded_server_ask_for_signatures():
    spec = pod(served(trusted_keys_map="keys"))
    for container, flag in ((spec["initContainers"][0], "trusted-keys"), (spec["containers"][0], "trusted_keys")):
        assert arguments(container)[flag] == "/trusted-keys"


def test_tensorflow_serving_is_ready_once_the_version_answers_with_its_metadata():
    (server,) = pod(served(server_engine="tensorflow_serving"))["containers"]
    assert server["readinessProbe"]["httpGet"]["path"] == "/v1/models/pets/versions/3/metadata"
    assert "access_tokens_file" not in arguments(server)


def test_the_policy_lets_out_to_the_port_of_s3():
    for endpoint, port in ((None, 443), ("http://s3:9000", 9000), ("http://s3", 80), ("https://s3", 443)):
        policy = part(model_objects(served(endpoint=endpoint)), "NetworkPolicy")
        assert policy["spec"]["egress"][-1]["ports"] == [{"protocol": "TCP", "port": port}]


def test_kserve_fetches_this_version_and_none_whose_number_begins_alike():
    service = part(kserve_objects(served(version=3)), "InferenceService")
    assert service["spec"]["predictor"]["model"]["storageUri"] == "s3://b/p/pets/3/"


@pytest.mark.parametrize("engine", ENGINES)
def test_kserve_has_a_runtime_for_each_engine_and_the_service_names_one(engine):
    objects = kserve_objects(served(server_engine=engine, server_image="x.example.com/server:1"))
    runtimes = {each["metadata"]["name"]: each for each in objects if each["kind"] == "ServingRuntime"}
    assert set(runtimes) == {"slipway-embedded", "slipway-tensorflow-serving"}
    chosen = part(objects, "InferenceService")["spec"]["predictor"]["model"]["runtime"]
    images = {name: each["spec"]["containers"][0]["image"] for name, each in runtimes.items()}
    assert [name for name, image in images.items() if image == "x.example.com/server:1"] == [chosen]


def test_a_canary_of_kserve_gets_its_share():
    assert "canaryTrafficPercent" not in part(kserve_objects(served()), "InferenceService")["spec"]["predictor"]
    service = part(kserve_objects(served(), canary_percent=10), "InferenceService")
    assert service["spec"]["predictor"]["canaryTrafficPercent"] == 10


@pytest.mark.parametrize("percent", [-1, 101])
def test_a_share_that_cannot_be_is_refused(percent):
    with pytest.raises(InputError, match="0 to 100"):
        kserve_objects(served(), canary_percent=percent)


def test_kserve_does_not_pretend_to_ask_for_signatures():
    with pytest.raises(InputError, match="does not fetch signatures"):
        kserve_objects(served(trusted_keys_map="keys"))
