"""What a person reads whose login the tracking server does not accept."""

import pytest

from registry.client import NewVersion, Registry
from slipway.errors import InputError

pytestmark = pytest.mark.integration


@pytest.fixture
def sign_in(monkeypatch):
    def sign_in(username=None, password=None):
        for key, value in (("USERNAME", username), ("PASSWORD", password)):
            if value is None:
                monkeypatch.delenv(f"MLFLOW_TRACKING_{key}", raising=False)
            else:
                monkeypatch.setenv(f"MLFLOW_TRACKING_{key}", value)

    return sign_in


@pytest.mark.parametrize("login", [(), ("admin", "hunter2-hunter2")])
def test_a_login_that_is_missing_or_wrong_is_named_with_its_remedy(tracking_server, sign_in, login):
    sign_in(*login)
    with pytest.raises(InputError, match="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD") as refused:
        Registry(tracking_server.uri).versions("digits")
    assert tracking_server.uri in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_user_without_permission_is_told_so_and_changes_nothing(tracking_server, sign_in, unique_name):
    sign_in(tracking_server.username, tracking_server.password)
    administrator = Registry(tracking_server.uri)
    tracking_server.call("registered-models/create", {"name": unique_name})
    tracking_server.call("users/create", {"username": unique_name, "password": "a guest of ours"})
    sign_in(unique_name, "a guest of ours")
    guest = Registry(tracking_server.uri)
    with pytest.raises(InputError, match="not permitted"):
        guest.versions(unique_name)
    with pytest.raises(InputError, match="not permitted"):
        guest.create_version(NewVersion(unique_name, "runs:/1/x", "", {}, ""))
    sign_in(tracking_server.username, tracking_server.password)
    assert administrator.versions(unique_name) == ()
