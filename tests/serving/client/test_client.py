"""What every protocol must give alike, against a real server of each."""

from contextlib import closing

import pytest

from serving.client import RejectedError, connect, predict_files
from slipway.errors import InputError, NotFoundError
from tests.serving.client.servers import (
    MlflowScoring,
    TensorFlowServing,
    TensorFlowServingGrpc,
    image,
    serving_grpc,
    serving_http,
)

NAMING = ("rest", "grpc")  # protocols that take a model's name, label and version


@pytest.fixture(scope="module", params=["rest", "grpc", "mlflow"])
def served(request):
    """A protocol's name, its server, and its address."""
    if request.param == "grpc":
        service = TensorFlowServingGrpc()
        with serving_grpc(service) as address:
            yield request.param, service, address
    else:
        service = TensorFlowServing() if request.param == "rest" else MlflowScoring()
        with serving_http(service.app) as address:
            yield request.param, service, address


def ask(address, images, **choice):
    with closing(connect(address, "pets", timeout_s=20, **choice)) as client:
        return client.predict(images)


def test_each_image_gets_its_label_class_and_probabilities_in_order(served):
    """Answers stand in the order of the images, whatever the protocol."""
    _, _, address = served
    answers = ask(address, [image(2), image(0), image(1)])
    assert [(answer.label, answer.class_id) for answer in answers] == [("fox", 2), ("cat", 0), ("dog", 1)]
    assert answers[0].output == pytest.approx((0.05, 0.05, 0.9))
    assert answers[0].probability == pytest.approx(0.9)


def test_answers_name_the_version_where_the_server_says_it(served):
    """The version is the server's word; MLflow's scoring server says none."""
    protocol, _, address = served
    assert ask(address, [image(0)])[0].version == ("2" if protocol in NAMING else "")


def test_a_label_or_a_version_chooses_what_answers(served):
    """`label` and `version` reach the server; one that serves a single version refuses them, and says so."""
    protocol, _, address = served
    for choice in ({"label": "stable"}, {"version": 1}):
        if protocol in NAMING:
            assert ask(address, [image(0)], **choice)[0].version == "1"
        else:
            with pytest.raises(InputError, match=r"serves one version.*Leave --label and --version out"):
                ask(address, [image(0)], **choice)


@pytest.mark.parametrize("served", NAMING, indirect=True)
@pytest.mark.parametrize("choice", [{"label": "canary"}, {"version": 9}, {}])
def test_what_the_server_does_not_know_is_not_found(served, choice):
    """An unknown label, version or model is NotFoundError in the server's words, with the address."""
    _, _, address = served
    with pytest.raises(NotFoundError, match=rf"{address}: .*(?:Servable not found|Unrecognized).*; expected model"):
        connect(address, "pets" if choice else "plants", timeout_s=20, **choice)


def test_a_file_that_is_no_image_is_named_among_many(served, tmp_path):
    """The server does not say which image it refuses; the error names the file, and gives the server's reason."""
    _, _, address = served
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(image(0))
    (tmp_path / "3.png").write_bytes(b"just text")
    with (
        closing(connect(address, "pets", timeout_s=20)) as client,
        pytest.raises(InputError, match=r"3\.png: .* refused it: data of 9 bytes is no image; expected a whole JPEG"),
    ):
        list(predict_files(client, sorted(tmp_path.iterdir())))


def test_a_refusal_is_one_line(served):
    """Messages never carry a server's stack trace."""
    _, _, address = served
    with pytest.raises(RejectedError) as refusal:
        ask(address, [b"just text"])
    assert "\n" not in str(refusal.value)
    assert "node" not in str(refusal.value)


def test_sixteen_files_go_in_one_request(served, tmp_path):
    """Requests carry at most 16 files, and every file gets its prediction."""
    _, service, address = served
    for number in range(20):
        (tmp_path / f"{number:02}.png").write_bytes(image(number % 3))
    service.requests.clear()
    with closing(connect(address, "pets", timeout_s=20)) as client:
        predictions = list(predict_files(client, sorted(tmp_path.iterdir())))
    assert service.requests == [16, 4]
    assert [prediction.class_id for prediction in predictions] == [number % 3 for number in range(20)]
    assert predictions[5].file == str(tmp_path / "05.png")


def test_large_files_go_in_smaller_requests(served, tmp_path):
    """A request carries at most 8 MiB of files, or one file that is larger."""
    _, service, address = served
    for number, megabytes in enumerate((3, 3, 3, 9, 1)):
        (tmp_path / f"{number}.png").write_bytes(image(0, padding=megabytes << 20))
    service.requests.clear()
    with closing(connect(address, "pets", timeout_s=60)) as client:
        assert len(list(predict_files(client, sorted(tmp_path.iterdir())))) == 5
    assert service.requests == [2, 1, 1, 1]


def test_a_file_over_the_servers_limit_is_named(tmp_path):
    """A server that takes less than one of our requests is asked file by file; what it still refuses is named."""
    for number, megabytes in enumerate((3, 3, 5)):
        (tmp_path / f"{number}.png").write_bytes(image(0, padding=megabytes << 20))
    with (
        serving_grpc(TensorFlowServingGrpc(), limit_bytes=4 << 20) as address,
        closing(connect(address, "pets", timeout_s=20)) as client,
        pytest.raises(InputError, match=r"2\.png: .*larger than max"),
    ):
        list(predict_files(client, sorted(tmp_path.iterdir())))


@pytest.mark.parametrize("outputs", [("output",), ("output", "label")])
def test_a_model_without_all_outputs_is_named_as_such(outputs):
    """The error says which outputs the model's signature lacks, over REST and gRPC."""
    rest = TensorFlowServing(outputs=outputs)
    with serving_http(rest.app) as address, pytest.raises(InputError, match=r"answers without.*class_id"):
        ask(address, [image(0)])
    with serving_grpc(TensorFlowServingGrpc(outputs=outputs)) as address, pytest.raises(InputError, match="class_id"):
        ask(address, [image(0)])


def test_a_model_without_serving_bytes_is_named_as_such():
    """The error says that the signature for encoded images is missing, over REST and gRPC."""
    rest = TensorFlowServing(signatures=("serving_default",))
    with serving_http(rest.app) as address, pytest.raises(InputError, match="'pets' has no signature 'serving_bytes'"):
        ask(address, [image(0)])
    grpc_service = TensorFlowServingGrpc(signatures=("serving_default",))
    with serving_grpc(grpc_service) as address, pytest.raises(InputError, match="has no signature 'serving_bytes'"):
        ask(address, [image(0)])


def test_label_and_version_together_are_refused():
    """One choice at a time, before anything is asked."""
    with pytest.raises(InputError, match="expected one"):
        connect("127.0.0.1:1", "pets", label="stable", version=1)


def test_a_model_name_that_is_a_path_is_refused():
    """Names are checked before they become URLs."""
    with pytest.raises(InputError, match=r"'\.\./x'"):
        connect("127.0.0.1:1", "../x")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ({"message": "Failed to predict data '   image_bytes\n0  b'xx''. \nError: no such column."}, "no such column"),
        (
            {"message": "unexpected", "stack_trace": "Traceback ...\nValueError: a row gives 2 of the columns\n"},
            "a row gives 2",
        ),
        ({"message": "The input must be a JSON dictionary"}, "The input must be a JSON dictionary"),
    ],
)
def test_mlflows_reason_is_found_where_mlflow_puts_it(failure, reason):
    """Behind a print of the data, at the end of a stack trace, or plain."""
    service = MlflowScoring(failure={"error_code": "BAD_REQUEST", **failure})
    with serving_http(service.app) as address, pytest.raises(RejectedError, match=f"refused it: {reason}"):
        ask(address, [image(0)])
