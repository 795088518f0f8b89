"""Bills of materials of the images, in CycloneDX: `make sbom`.

    python -m supply_chain.sbom FOLDER

writes `service.cdx.json` and `worker.cdx.json`: every package of the image with its version and
licence. What the base image brings beside Python's packages is not in them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from isslim import __version__
from supply_chain.dependencies import Package, normal, packages_of

IMAGES = ("service", "worker")


def bill(image: str) -> dict[str, Any]:
    """The bill of materials of an image.

    Args:
        image: `service` or `worker`.
    """
    bom = Bom()
    bom.metadata.component = root = Component(
        name=f"isslim-{image}",
        version=__version__,
        type=ComponentType.CONTAINER,
        licenses=[DisjunctiveLicense(id="MIT")],
        bom_ref=f"isslim-{image}",
    )
    parts = [_component(each) for each in packages_of(image)]
    for each in parts:
        bom.components.add(each)
    bom.register_dependency(root, parts)
    content: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    return content


def _component(package: Package) -> Component:
    name = normal(package.name)
    return Component(
        name=name,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=PackageURL("pypi", name=name, version=package.version),
        bom_ref=f"{name}=={package.version}",
        properties=[Property(name="isslim:licence", value=package.licence or "not named")],
    )


def main(folder: Path) -> None:
    """Writes the bills of all images.

    Args:
        folder: for the files; made if there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        path = folder / f"{image}.cdx.json"
        path.write_text(json.dumps(bill(image), indent=1) + "\n")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
