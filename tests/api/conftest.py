"""What the tests of the Python face share: a place of their own, and a quick run's options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def quick(here: Path) -> dict[str, Any]:
    """Options of a run of 8 steps that prints nothing; what it trains on is for the caller."""
    return {"train_limit": 256, "epochs": 2, "progress": "silent"}
