"""Fixtures for tests that run programs of Node."""

import os
from pathlib import Path

import pytest

from tests.contract import CONTRACTS


@pytest.fixture
def node_folder(tmp_path: Path) -> Path:
    """A folder whose programs find the npm packages of the tests. Without those the test is skipped, except in CI."""
    if not CONTRACTS.exists() and "CI" not in os.environ:
        pytest.skip("the npm packages of the tests are not installed here: `make test` installs them")
    (tmp_path / "node_modules").symlink_to(CONTRACTS / "node_modules")
    return tmp_path
