"""Whatever goes into the image was written down with the hash of each of its files."""

import re
from collections.abc import Iterator
from importlib.metadata import distribution

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project.test_container_files import stages
from tests.support.terminal import ROOT

LOCKS = ("requirements.txt", "requirements-build.txt")


def load_locked(name: str) -> dict[str, tuple[Requirement, list[str]]]:
    """What a file pins, by the package's name: how, and which files it may be."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / name).read_text())
    hashes_by_name = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pinned, *hashes = line.split(" --hash=")
            requirement = Requirement(pinned.strip())
            hashes_by_name[canonicalize_name(requirement.name)] = (requirement, hashes)
    return hashes_by_name


def list_needed(name: str, packages: set[str]) -> Iterator[str]:
    """All packages that one needs here, by way of others too."""
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        package = canonicalize_name(requirement.name)
        marker = requirement.marker
        is_meant = marker is None or marker.evaluate(default_environment() | {"extra": ""})
        if is_meant and package not in packages:
            packages.add(package)
            yield package
            yield from list_needed(package, packages)


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_with_its_files(name: str) -> None:
    """To one version, and at least one SHA-256."""
    pins = load_locked(name)
    assert len(pins) > 20
    for package, (requirement, hashes) in pins.items():
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), package
        assert hashes, package
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", hash_) for hash_ in hashes), package


def test_nothing_that_heloise_needs_is_missing() -> None:
    """And each is in the version that it is tested with."""
    locked_hashes = load_locked("requirements.txt")
    pins = dict(
        line.lower().split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    tested = {canonicalize_name(name): version for name, version in pins.items()}
    required = set(list_needed("heloise", set()))
    assert required <= locked_hashes.keys()
    for package in required & tested.keys():
        assert str(locked_hashes[package][0].specifier) == f"=={tested[package]}", package


def test_the_image_installs_nothing_else() -> None:
    """Each installation asks for hashes, but that of Heloise's own wheel, which brings nothing."""
    runs = [rest for verb, rest in stages()[0] if verb == "RUN"]
    installs = [
        command for run in runs for command in run.split("&&") if " install " in f" {command} "
    ]
    assert len(installs) == 3
    for install in installs:
        assert ("--require-hashes" in install) != ("--no-deps /tmp/wheel/" in install), install
    assert not any("pip" in rest for verb, rest in stages()[-1] if verb == "RUN")


def test_the_image_lists_what_is_in_it() -> None:
    """As CycloneDX, beside what it lists."""
    built = " ".join(rest for verb, rest in stages()[0] if verb == "RUN")
    assert "cyclonedx-py environment --output-file /opt/heloise/sbom.cdx.json" in built
