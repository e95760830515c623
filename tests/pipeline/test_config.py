"""Configuration: one default, clear errors, flag over environment over file."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.config import Config, config_from_json, config_to_json, flat, load_config, with_overrides
from pipeline.options import HELP, config_keys, overrides
from slipway.errors import InputError

QUICKSTART = Path(__file__).parents[2] / "pipeline" / "conf" / "quickstart.yaml"


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / "c.yaml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_without_a_file_the_full_configuration_is_the_default():
    train = load_config().train
    assert (train.network, train.head, train.epochs, train.image_size) == ("resnet50", "flatten", 10, 224)


def test_a_file_stands_above_the_default_and_an_option_above_the_file(tmp_path):
    file = written(tmp_path, "train: {epochs: 3, batch_size: 8}")
    config = load_config(file, {"train.epochs": 5})
    assert (config.train.epochs, config.train.batch_size) == (5, 8)


def test_the_quickstart_trains_resnet50_never_a_small_network():
    config = load_config(str(QUICKSTART))
    assert (config.train.network, config.data.source, config.train.image_size) == ("resnet50", "digits", 32)
    assert config.gate.minimum_accuracy >= 0.95


@pytest.mark.parametrize(
    ("text", "place", "expectation"),
    [
        ("train: {epoch: 3}", "unknown key 'train.epoch'", "did you mean 'epochs'?"),
        ("trian: {}", "unknown key 'trian'", "did you mean 'train'?"),
        ("train: {epochs: 0}", "train.epochs is 0", "expected 1 or more"),
        ("train: {epochs: many}", "train.epochs is 'many'", "of type int"),
        ("train: {epochs: true}", "train.epochs is True", "of type int"),
        ("train: 3", "train is 3", "expected keys and values"),
        ("train: {head: round}", "train.head is 'round'", "flatten or avg"),
        ("train: {learning_rate: 0}", "train.learning_rate is 0", "above 0"),
        ("train: {image_size: 8}", "train.image_size is 8", "32 or more"),
        ("name: ../x", "model name '../x'", "letters, digits"),
        ("data: {test_fraction: 1.5}", "data.test_fraction is 1.5", "between 0 and 1"),
        ("gate: {minimum_accuracy: 7}", "minimum_accuracy is 7", "from 0 to 1"),
        ("- a\n- b", "a list", "expected keys and values"),
        ("train: {epochs: 3", ":1", "expected YAML"),
    ],
)
def test_a_wrong_file_is_named_with_key_expectation_and_remedy(tmp_path, text, place, expectation):
    file = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_config(file)
    message = str(caught.value)
    assert file in message
    assert place in message
    assert expectation in message
    assert "\n" not in message


def test_weights_to_start_from_are_looked_for_when_training_starts_and_not_by_later_steps(tmp_path):
    config = load_config(None, {"train.weights": str(tmp_path / "gone.h5")})
    assert config_from_json(config_to_json(config), "run") == config
    with pytest.raises(InputError, match=r"gone.h5.*existing .h5 or .keras"):
        config.train.check_files()


@pytest.mark.parametrize("text", ["train:", "train:\n", "gate:\ntrain:"])
def test_an_empty_section_is_as_good_as_none(tmp_path, text):
    assert load_config(written(tmp_path, text), {"train.epochs": 3}).train.epochs == 3


def test_a_number_that_yaml_reads_as_text_is_a_number(tmp_path):
    assert load_config(written(tmp_path, "train: {learning_rate: 1e-3}")).train.learning_rate == 0.001


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        load_config(str(tmp_path / "none.yaml"))


def test_every_key_has_help_and_an_option_of_its_own():
    keys = config_keys()
    assert set(HELP) == set(keys)
    flags = [key.flag for key in keys.values()]
    assert len(set(flags)) == len(flags)


def test_a_logged_configuration_reads_back_as_it_was():
    config = with_overrides(Config(), {"train.epochs": 2, "data.source": "images", "gate.recall_drop": 0.5})
    assert config_from_json(config_to_json(config), "run") == config


@given(epochs=st.integers(1, 10**6), rate=st.floats(1e-9, 9.0), skip=st.booleans())
def test_overrides_reach_their_keys_whatever_their_values(epochs, rate, skip):
    given_options = {"epochs": epochs, "learning_rate": rate, "skip_bad_images": skip, "seed": None}
    values = flat(with_overrides(Config(), overrides(given_options)))
    assert (values["train.epochs"], values["train.learning_rate"], values["data.skip_bad_images"]) == (
        epochs,
        rate,
        skip,
    )
    assert values["train.seed"] == Config().train.seed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--epochs", "0"], "train.epochs is 0; expected 1 or more"),
        (["train", "--epochs", "x"], "'x' is not a valid integer"),
        (["train", "--config", "none.yaml"], "none.yaml"),
        (["train", "--name", "x"], "No such option"),
        (["evaluate"], "--run-id is missing"),
        (["gate", "--name", "../x", "--version", "1"], "model name '../x'"),
        (["promote", "--version", "1", "--force"], "--reason"),
        (["promote", "--version", "1", "--to", "stable"], "expected champion or challenger"),
        (["export"], "expected one of --version and --alias"),
        (["predict"], "no image given"),
        (["nonsense"], "No such command"),
    ],
)
def test_wrong_usage_exits_with_2_and_one_line(arguments, message):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert message in result.output.replace("\n", " ")
    assert "Traceback" not in result.output


def test_the_environment_stands_below_an_option_and_above_the_default(monkeypatch):
    monkeypatch.setenv("SLIPWAY_TRAIN_EPOCHS", "0")
    assert "train.epochs is 0" in CliRunner().invoke(main, ["train"]).output
    assert "train.epochs is -1" in CliRunner().invoke(main, ["train", "--epochs", "-1"]).output


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("base", "s3://AKIA:hid/den@bucket/models"),
        ("base", "file://user:hidden@host/models"),
        ("data.source", "s3://user:hidden@bucket/images"),
        ("reconcile.servers", "grpc://127.0.0.1:8500,grpc://user:hidden@host:8500"),
        ("rollout.rest_servers", "http://user:hidden@127.0.0.1:8501"),
    ],
)
def test_a_password_in_an_address_is_refused_before_a_run_could_log_it(key, value):
    with pytest.raises(InputError, match=f"{key}: an address with a user or password") as refused:
        load_config(None, {key: value})
    assert "hid" not in str(refused.value)
