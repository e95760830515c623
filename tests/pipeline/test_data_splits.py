import math
import random

from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.splits import SPLITS, split_by_content

fractions = st.tuples(st.floats(0.01, 0.98), st.floats(0.01, 0.98)).filter(lambda pair: sum(pair) < 1)
class_sizes = st.dictionaries(st.sampled_from("abcdef"), st.integers(3, 60), min_size=1)


def images_of(sizes):
    return [(f"{label}{number}", label) for label, size in sizes.items() for number in range(size)]


def sizes_of(assigned, label):
    return [sum(split == wanted for digest, split in assigned.items() if digest[0] == label) for wanted in SPLITS]


@given(class_sizes, fractions, st.integers())
def test_every_image_has_one_split_and_every_class_is_in_each_split(sizes, pair, seed):
    assigned = split_by_content(images_of(sizes), *pair, seed)
    assert set(assigned) == {digest for digest, _ in images_of(sizes)}
    for label in sizes:
        assert min(sizes_of(assigned, label)) >= 1


@given(class_sizes, st.integers(0, 9), st.randoms())
def test_the_split_depends_neither_on_the_order_of_the_images_nor_on_repetition(sizes, seed, shuffler):
    images = images_of(sizes)
    shuffled = images + shuffler.choices(images, k=3)
    shuffler.shuffle(shuffled)
    assert split_by_content(shuffled, 0.2, 0.1, seed) == split_by_content(images, 0.2, 0.1, seed)


def test_each_class_gives_its_fractions():
    assigned = split_by_content(images_of({"a": 200, "b": 50}), 0.2, 0.1, 0)
    assert sizes_of(assigned, "a") == [140, 40, 20]
    assert sizes_of(assigned, "b") == [35, 10, 5]


def test_another_seed_gives_another_split_of_the_same_sizes():
    images = images_of({"a": 200})
    first, second = (split_by_content(images, 0.1, 0.1, seed) for seed in (0, 1))
    assert first != second
    assert sizes_of(first, "a") == sizes_of(second, "a")


def test_added_images_move_few_of_the_others():
    """A retrained model is compared on nearly the same held-out images: of 300, at most one in twenty changes split."""
    before = split_by_content(images_of({"a": 300}), 0.1, 0.1, 0)
    after = split_by_content(images_of({"a": 310}), 0.1, 0.1, 0)
    moved = sum(after[digest] != split for digest, split in before.items())
    assert moved <= 300 / 20


def test_the_seed_shuffles_evenly():
    """Over 400 seeds each image is held out about as often as any other: within five standard deviations of 10 %."""
    images = images_of({"a": 20})
    counts = dict.fromkeys((digest for digest, _ in images), 0)
    for seed in random.Random(0).sample(range(10**6), 400):
        for digest, split in split_by_content(images, 0.1, 0.1, seed).items():
            counts[digest] += split == "test"
    spread = 5 * math.sqrt(400 * 0.1 * 0.9)
    assert all(abs(count - 40) < spread for count in counts.values())
