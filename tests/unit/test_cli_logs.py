"""What the log shows of an error: where it happened, and never what was in a variable."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from syndicate.cli.logs import configure_logs

CANARY = "canary-0123456789abcdef"


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def fail() -> None:
    secret = CANARY
    raise ValueError(len(secret))


@pytest.mark.parametrize("through", ["uvicorn.error", "ours"])
def test_a_traceback_shows_no_variable(through: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(logging.INFO)
    try:
        fail()
    except ValueError:
        if through == "ours":
            structlog.get_logger("test").exception("request_failed")
        else:
            logging.getLogger(through).exception("Exception in ASGI application")
    shown = capsys.readouterr().err
    assert "in fail" in shown, shown
    assert "ValueError" in shown
    assert CANARY not in shown
