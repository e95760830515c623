"""True labels from a file: what is read, what is refused, and all at once."""

import pytest

from pipeline.rollout.labels import Sent, read_labels
from serving.client.observations import TrueLabel
from serving.request_ids import new_request_id
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


@pytest.mark.parametrize("text", ["", "id,label\n", f"{ONE},seven\n"])
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
