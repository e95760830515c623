import subprocess
import sys

import pytest

from pipeline.data import DataConfig
from slipway.errors import InputError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"test_fraction": 1.5},
            "data.test_fraction is 1.5; expected between 0 and 1. Edit it or pass --test-fraction.",
        ),
        (
            {"validation_fraction": 0},
            "data.validation_fraction is 0; expected between 0 and 1. Edit it or pass --validation-fraction.",
        ),
        ({"validation_fraction": float("nan")}, "data.validation_fraction is nan; expected between 0 and 1."),
        (
            {"validation_fraction": 0.5, "test_fraction": 0.5},
            "data.validation_fraction and data.test_fraction are 1 together; expected less than 1",
        ),
        ({"max_pixels": 0}, "data.max_pixels is 0; expected 1 or more. Edit it or pass --max-pixels."),
        ({"source": " "}, "data.source is empty; expected 'digits', a folder or a CSV file. Edit it or pass --data."),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_key_the_range_and_the_flag(values, message):
    with pytest.raises(InputError) as raised:
        DataConfig(**values)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_the_defaults_are_the_embedded_digits_split_80_10_10():
    config = DataConfig()
    assert (config.source, config.validation_fraction, config.test_fraction) == ("digits", 0.1, 0.1)
    assert not config.skip_bad_images


def test_importing_the_data_package_imports_no_heavy_library():
    heavy = {"tensorflow", "mlflow", "pandas", "sklearn", "PIL", "numpy"}
    code = f"import sys, pipeline.data; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
