"""The last answers are remembered in bounded memory, however many images they are to."""

import json
import tracemalloc

import pytest

from serving.model_server.answered import Answered, Feedback
from serving.model_server.identity import Identity
from serving.model_server.tally import Tally

IMAGES = 256


def attached(answered, request_id, *truth):
    return answered.attach([Feedback(request_id, truth)])[0] == 1


def test_the_oldest_answers_go_when_all_are_to_more_images_than_are_kept():
    answered, tally = Answered(most=10, most_images=6), Tally()
    for index, count in enumerate((3, 2, 1, 2)):
        answered.remember(f"{index}", tally, tuple(range(count)), counted=True)
    assert not attached(answered, "0", 0, 1, 2)
    assert attached(answered, "1", 0, 1)
    assert attached(answered, "2", 0)
    answered.remember("as many", tally, tuple(range(6)), counted=True)
    assert not attached(answered, "3", 0, 1)
    assert attached(answered, "as many", *range(6))
    answered.remember("too many", tally, tuple(range(7)), counted=True)
    assert not attached(answered, "too many", *range(7))
    answered.remember("next", tally, (1,), counted=True)
    assert attached(answered, "next", 1)


def test_class_ids_of_any_size_are_kept():
    answered, tally = Answered(), Tally()
    answered.remember("wide", tally, (-1, 0, 2**40, 2**63 - 1), counted=True)
    assert attached(answered, "wide", 7, 0, 2**40, 2**63 - 1)
    seen = tally.snapshot(1, "")
    assert (seen.labelled, seen.correct) == (4, 3)


def test_a_label_that_is_corrected_is_never_seen_as_one_label_less():
    seen = []

    class Seen(Tally):
        def labelled(self, images, correct, *, shadow=False):
            super().labelled(images, correct, shadow=shadow)
            now = self.snapshot(1, "")
            counts = now.shadow if shadow else now
            seen.append((shadow, counts.labelled, counts.correct))

    answered = Answered()
    answered.remember("a", Seen(), (1, 2, 3), counted=True)
    assert attached(answered, "a", 1, 2, 3)
    answered.shadowed("a", Seen(), (1, 2, 0))
    assert attached(answered, "a", 1, 2, 0)
    assert attached(answered, "a", 1, 2, 3)
    of_answers, of_copies = ([each[1:] for each in seen if each[0] == shadow] for shadow in (False, True))
    assert of_answers == [(3, 3), (3, 2), (3, 3)]
    assert of_copies == [(3, 2), (3, 3), (3, 2)]


@pytest.mark.parametrize("names", [(), tuple(f"class {index}" for index in range(1000 + IMAGES))])
def test_answers_to_many_images_take_no_more_memory_than_those_to_one(names):
    answered, tally = Answered(), Tally(Identity(labels=names))
    classes = tuple(range(1000, 1000 + IMAGES))
    body = json.dumps(names[1000:] or classes)
    tracemalloc.start()
    try:
        for index in range(1500):
            answered.remember(f"{index}", tally, classes, counted=True)
            answered.shadowed(f"{index}", tally, classes)
            assert attached(answered, f"{index}", *json.loads(body))
        assert tracemalloc.get_traced_memory()[0] < 15e6
    finally:
        tracemalloc.stop()
