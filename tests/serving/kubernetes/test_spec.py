import pytest

from serving.kubernetes.spec import ClusterSettings, ServedVersion
from slipway.errors import InputError

DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("server_engine", "triton"),
        ("server_image", "Slipway Serving"),
        ("sync_image", ""),
        ("namespace", "Slipway"),
        ("namespace", ""),
        ("replicas", 0),
        ("max_replicas", 1),
        ("s3_secret", ""),
        ("tokens_secret", "a/b"),
        ("trusted_keys_map", "Keys"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_key_and_flag(key, value):
    with pytest.raises(InputError, match=f"kubernetes.{key} is .*expected .*--{key.replace('_', '-')}"):
        ClusterSettings(**{key: value})


@pytest.mark.parametrize("base", ["serving_base", "/srv/models", "s3://", "http://x/y", "s3://b/p?x=1"])
def test_a_base_path_that_nodes_do_not_reach_is_refused(base):
    with pytest.raises(InputError, match="expected s3://BUCKET/PREFIX"):
        ServedVersion("m", 1, DIGEST, base)


@pytest.mark.parametrize("digest", ["", "ab", "AB" * 32, "zz" * 32])
def test_a_digest_that_is_none_is_refused(digest):
    with pytest.raises(InputError, match="64 hex digits"):
        ServedVersion("m", 1, digest, "s3://b/p")


def test_an_engine_has_an_image_of_its_own_unless_one_is_named():
    assert ClusterSettings().image.startswith("slipway-serving:")
    assert ClusterSettings(server_engine="tensorflow_serving").image.startswith("tensorflow/serving:")
    assert ClusterSettings(server_image="x.example.com/s:1").image == "x.example.com/s:1"
