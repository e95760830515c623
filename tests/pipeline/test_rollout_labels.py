"""True labels from a file: what is read, what is refused, and all at once."""

import json

import pytest

from pipeline.rollout.labels import Sent, as_sent, published_names, read_labels
from serving.client.observations import TrueLabel
from serving.model_server.answered import Answered
from serving.model_server.feedback import parse_feedback
from serving.model_server.identity import Identity
from serving.model_server.tally import Tally
from serving.request_ids import new_request_id
from serving.servable.layout import LABELS, published_path
from slipway.errors import InputError

ONE, OTHER = (new_request_id(3, "0f3a9c8d7e6b" * 5) for _ in range(2))


def written(folder, text):
    file = folder / "labels.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_lines_are_labels_and_lines_of_one_id_are_the_images_of_one_request(tmp_path):
    file = written(tmp_path, f"request_id,label\n{ONE},seven\n{OTHER},two\n\n{ONE},one\n")
    assert read_labels(file) == (TrueLabel(ONE, ("seven", "one")), TrueLabel(OTHER, ("two",)))


def test_a_spreadsheet_s_byte_order_mark_is_no_part_of_the_header(tmp_path):
    assert read_labels(written(tmp_path, f"\ufeffrequest_id,label\r\n{ONE},seven\r\n"))


def test_every_wrong_line_is_named_at_once(tmp_path):
    file = written(tmp_path, f"request_id,label\n{ONE},seven\nabc,two\n{OTHER},\n{ONE}\n")
    with pytest.raises(InputError) as caught:
        read_labels(file)
    message = str(caught.value)
    for part in ("line 3: request id 'abc'", "line 4: no label", "line 5: 1 values, expected 2", "none was sent"):
        assert part in message
    assert "line 2" not in message


@pytest.mark.parametrize("text", ["", "id,label\n", f"{ONE},seven\n"], ids=["empty", "another", "none"])
def test_a_file_without_its_header_is_refused(tmp_path, text):
    with pytest.raises(InputError, match="expected the header request_id,label"):
        read_labels(written(tmp_path, text))


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"request_id,label\n\xff\xfe\x00")
    with pytest.raises(InputError, match="expected a CSV file"):
        read_labels(tmp_path / "bytes.csv")


def test_what_no_server_remembers_is_said_but_not_a_thousand_times():
    text = Sent(5, tuple(f"id{number}" for number in range(1000))).text()
    assert text.startswith("labels: 5 attached; 1000 ids that no server remembers: id0, id1")
    assert len(text) < 200


def test_spaces_around_a_label_are_no_part_of_it(tmp_path):
    assert read_labels(written(tmp_path, f"request_id,label\n{ONE}, seven \n")) == (TrueLabel(ONE, ("seven",)),)


@pytest.mark.parametrize(("names", "sent"), [(("six", "seven"), 1), (("0", "1"), "1"), (("1", "0"), "1"), (None, 1)])
def test_a_number_is_a_class_s_id_unless_it_is_a_class_s_name_and_the_server_takes_it(tmp_path, names, sent):
    folder = tmp_path / "base" / "digits" / "3"
    (folder / published_path(LABELS)).parent.mkdir(parents=True)
    if names is not None:
        (folder / published_path(LABELS)).write_text(json.dumps(names))
    labels = read_labels(written(tmp_path, f"request_id,label\n{ONE},1\n"))
    found = as_sent(labels, published_names(str(tmp_path / "base"), "digits"))
    assert found == (TrueLabel(ONE, (sent,)),)
    answered = Answered()
    answered.remember(ONE, Tally(Identity("x", names or ())), (1,), counted=True)
    body = json.dumps({"feedback": [{"request_id": ONE, "labels": list(found[0].labels)}]}).encode()
    assert answered.attach(parse_feedback(body)) == (1, [])


def test_a_number_stays_a_text_where_nobody_knows_the_names(tmp_path):
    labels = (TrueLabel(ONE, ("1", "seven")),)
    assert as_sent(labels, published_names(str(tmp_path), "digits")) == labels
