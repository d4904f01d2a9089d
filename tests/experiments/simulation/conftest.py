"""A small synthetic shop with two bundles that answer differently."""

from pathlib import Path

import pytest

from benchmarks import live_shop
from experiments.simulation.known_shop import KnownShop

N_ITEMS = 300


@pytest.fixture(scope="session")
def shop_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's files in ``shop``; bundles of decoders with random weights in ``bundle`` and ``other``."""
    root = tmp_path_factory.mktemp("simulated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_shop, "SHOP_ITEMS", N_ITEMS)
        live_shop.export_model(root, seed=0)
        (root / "again").mkdir()
        patch.setattr(live_shop, "ORDERING", live_shop.OrderingWeights(tau=3.0))
        live_shop.export_model(root / "again", seed=0)
    return root


@pytest.fixture(scope="session")
def bundles(shop_directory: Path) -> tuple[str, str]:
    return f"a={shop_directory / 'bundle'}", f"b={shop_directory / 'again' / 'bundle'}"


@pytest.fixture(scope="session")
def shop(shop_directory: Path) -> KnownShop:
    return KnownShop.load(shop_directory / "shop")
