"""A store that no test of a page changes."""

import pytest
import reports


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Two students whose intervals overlap, and a laboratory."""
    made = reports.make_store(tmp_path_factory.mktemp("store"), half=8.0)
    reports.make_lab(made)
    reports.make_comparison(made)
    return made
