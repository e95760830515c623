"""Where a bundle's files lie once published: one to one, and never outside."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving.servable.layout import bundle_path, published_path
from slipway.errors import IntegrityError

parts = st.sampled_from(
    ["saved_model", "assets.extra", "slipway", "golden", "manifest.json", "variables", "1"]
) | st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=5).filter(
    lambda part: part not in {".", ".."}
)
paths = st.lists(parts, min_size=1, max_size=5).map("/".join)


def published_or_none(path: str) -> str | None:
    try:
        return published_path(path)
    except IntegrityError:
        return None


@pytest.mark.parametrize(
    ("bundle", "published"),
    [
        ("saved_model/saved_model.pb", "saved_model.pb"),
        ("saved_model/variables/variables.index", "variables/variables.index"),
        ("saved_model/assets.extra/tf_serving_warmup_requests", "assets.extra/tf_serving_warmup_requests"),
        ("manifest.json", "assets.extra/slipway/manifest.json"),
        ("golden/golden.npz", "assets.extra/slipway/golden/golden.npz"),
        ("variants/openvino-int8/model.xml", "assets.extra/slipway/variants/openvino-int8/model.xml"),
    ],
)
def test_the_saved_model_lies_at_the_root_and_the_rest_below_assets_extra_slipway(bundle, published):
    assert published_path(bundle) == published
    assert bundle_path(published) == bundle


@given(paths)
def test_every_file_that_can_be_published_is_found_back(path):
    published = published_or_none(path)
    assume(published is not None)
    assert bundle_path(published) == path


@given(paths)
def test_every_published_path_has_one_origin_or_is_refused(path):
    try:
        origin = bundle_path(path)
    except IntegrityError:
        return
    assert published_path(origin) == path


@given(paths, paths)
def test_two_files_never_share_a_published_path(one, other):
    assume(one != other)
    published = published_or_none(one)
    assert published is None or published != published_or_none(other)


@pytest.mark.parametrize("path", ["", "/", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a/.", "a\0b"])
def test_a_path_that_could_leave_its_directory_is_refused(path):
    for mapping in (published_path, bundle_path):
        with pytest.raises(IntegrityError, match="relative path"):
            mapping(path)


@pytest.mark.parametrize(
    "path",
    ["saved_model/assets.extra", "saved_model/assets.extra/slipway", "saved_model/assets.extra/slipway/golden.npz"],
)
def test_a_saved_model_that_would_lie_where_slipways_own_files_do_is_refused(path):
    with pytest.raises(IntegrityError, match=r"assets\.extra/slipway"):
        published_path(path)
