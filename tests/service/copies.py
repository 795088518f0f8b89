"""Bundles without a compression: copies of one that is published, under other names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from isslim.store.bundles import BundleStore
from isslim.store.folders import seal
from isslim.store.integrity import MANIFEST
from isslim.store.settings import StoreSettings
from tests.conftest import Published


def publish_as(name: str, published: Published, home: Path, **changed: Any) -> str:
    """A copy of the bundle under another name, in another home; its id.

    Args:
        name: of the copy.
        published: the bundle.
        home: which has made no copy at this moment.
        changed: other fields of its manifest.
    """
    bundle, made = BundleStore(published.settings).open(published.bundle_id), home / "made"
    shutil.copytree(bundle.folder, made)
    (made / MANIFEST).unlink()
    seal(made, bundle.manifest.model_copy(update={"name": name, **changed}))
    bundle_id = BundleStore(StoreSettings(home=home)).publish(made)
    shutil.rmtree(made)
    return bundle_id
