"""What a user may say about the data."""

from dataclasses import dataclass

from serving.servable.images import MAX_PIXELS
from slipway.errors import InputError


@dataclass(frozen=True)
class DataConfig:
    """Where the images are, which to refuse, and how to split them. Raises InputError for a value out of range.

    source: "digits" (scikit-learn's 1,797 handwritten digits), a folder with a subfolder per class, or a CSV file with
        the columns path, label and, if it splits the images itself, split (train, validation, test); either may be in
        S3: s3://BUCKET/FOLDER, s3://BUCKET/FILE.csv.
    skip_bad_images: go on without the images that cannot be used, instead of stopping.
    validation_fraction, test_fraction: of each class's images, each above 0, together below 1.
    split_seed: another seed, another split.
    excluded: a source like `source`, or none: whatever has the content of one of its images is left out of every split.
    max_pixels: largest height times width of an image.
    """

    source: str = "digits"
    skip_bad_images: bool = False
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    split_seed: int = 0
    max_pixels: int = MAX_PIXELS
    excluded: str = ""

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise InputError("data.source is empty; expected 'digits', a folder or a CSV file. Edit it or pass --data.")
        for name in ("validation_fraction", "test_fraction"):
            fraction = getattr(self, name)
            if not 0 < fraction < 1:
                flag = f"--{name.replace('_', '-')}"
                raise InputError(f"data.{name} is {fraction}; expected between 0 and 1. Edit it or pass {flag}.")
        together = self.validation_fraction + self.test_fraction
        if together >= 1:
            raise InputError(
                f"data.validation_fraction and data.test_fraction are {together:g} together; expected less than 1, "
                "so that images are left to train on. Edit them or pass --validation-fraction and --test-fraction."
            )
        if self.max_pixels < 1:
            raise InputError(f"data.max_pixels is {self.max_pixels}; expected 1 or more. Edit it or pass --max-pixels.")
