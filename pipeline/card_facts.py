"""What a model card says of a servable that was just sealed: its network, its data, what its variants measured."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.tracking import StepRun
from registry.card import CardFacts, VariantFacts
from serving.servable.layout import MANIFEST
from serving.servable.manifest import read_manifest

if TYPE_CHECKING:
    import keras

    from pipeline.data import Dataset


def card_facts(name: str, trained: StepRun, network: "keras.Model", dataset: "Dataset", servable: Path) -> CardFacts:
    """The facts of the card of model `name`. servable: the sealed bundle's folder."""
    manifest = read_manifest(servable / MANIFEST)
    return CardFacts(
        name=name,
        run_id=trained.run_id,
        network=f"{network.name}, {network.count_params() / 1e6:.1f} million parameters",
        data=f"{Path(dataset.source).name}: {dataset.summary()}",
        image_size=network.input_shape[1:3],
        dataset_digest=dataset.digest,
        git_commit=manifest.git_commit,
        variants=tuple(
            VariantFacts(variant, found.accuracy, found.throughput, found.p50_ms, found.size_bytes / 1e6)
            for variant, record in manifest.variants.items()
            if (found := record.measured) is not None
        ),
        pictures=tuple(path for path in trained.artifacts("") if path.endswith(".png")),
    )
