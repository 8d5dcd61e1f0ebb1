"""The model cards that `bench run` writes into the folders of the runs."""

from bench.planning.manifest import Manifest

CARD = "MODEL_CARD.md"
FILES = (CARD,)


def write(manifest: Manifest) -> None:
    """Write the card of every finished and scored run of a grid."""
    from bench.extensions.cards.model_card import write_cards  # slow imports

    write_cards(manifest)
