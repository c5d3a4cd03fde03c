"""The program as a process of its own: signals, pipes, ports, and what it loads."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.cli_runner import Program, kept_logs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of an installation with one article."""
    (tmp_path / "letters").mkdir()
    article = tmp_path / "letters" / "tides.md"
    article.write_text("# Of tides — äöü\n\nThey come and go.\n", "utf-8")
    os.utime(article, (1_700_000_000, 1_700_000_000))
    with kept_logs():
        Program(tmp_path, capsys).done("init", "--title", "News", "--from", "letters")
    return tmp_path


def environment(**changes: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)} | changes


def run(folder: Path, *args: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "syndicate", *args],
        cwd=folder, env=environment(**changes), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, errors="replace", timeout=60, check=False,
    )  # fmt: skip


@contextmanager
def started(folder: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "syndicate", *args],
        cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def address_told_by(process: subprocess.Popen[str]) -> str:
    """The address in the line that says that it serves."""
    assert process.stderr is not None
    for line in process.stderr:
        if "http://127.0.0.1:" in line and "Serving" in line:
            return "http://127.0.0.1:" + line.split("at http://127.0.0.1:")[1].split("/")[0]
    raise AssertionError(process.wait())


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return bytes(answer.read())


def test_help_loads_neither_the_database_nor_what_draws_tables() -> None:
    code = (
        "import sys\n"
        "from syndicate.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "print([m for m in ('sqlalchemy', 'rich', 'structlog', 'pydantic', 'fastapi', 'jinja2', 'aiohttp')"
        " if m in sys.modules], file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert ended.stderr.strip() == "[]"
    assert "init" in ended.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])
def test_serve_answers_and_ends_in_good_order_when_it_is_told_to(site: Path, number: signal.Signals) -> None:
    with started(site, "serve", "--port", "0") as process:
        url = address_told_by(process)
        assert b"Of tides" in get(f"{url}/news/")
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert out == ""
        assert "Traceback" not in err
        with pytest.raises(URLError):
            get(url)


def test_a_port_that_is_in_use_is_told_in_one_line(site: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(site, "serve", "--port", str(port))
    assert ended.returncode == 1
    assert ended.stderr == f"syndicate: port {port} is in use; choose another with --port\n"


def test_the_demo_does_the_whole_job_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ended = run(tmp_path, "demo", "--once", "--json", TMPDIR=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    made = json.loads(ended.stdout)
    assert made["state"] == "sent"
    assert made["deliveries"]["sent"] == made["readers"] > 0
    assert list(tmp_path.iterdir()) == []


def test_whoever_has_read_enough_of_the_output_may_close_it(site: Path) -> None:
    with started(site, "preview", "news") as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.splitlines()[0] == "Subject: Of tides — äöü"
    assert "Error" not in err
    assert "Traceback" not in err


def test_a_terminal_without_umlauts_gets_a_substitute_and_no_traceback(site: Path) -> None:
    ended = run(site, "preview", "news", PYTHONIOENCODING="iso-8859-5")
    assert ended.returncode == 0, ended.stderr
    assert "Of tides \\u2014 \\xe4\\xf6\\xfc" in ended.stdout


def test_ctrl_c_in_the_middle_ends_with_one_line(site: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/feed"
        text = (site / "syndicate.toml").read_text("utf-8")
        patient = 'allow_private = ["127.0.0.1/32"]\ndeadline_s = 600'
        (site / "syndicate.toml").write_text(text.replace("allow_private = []", patient), "utf-8")
        with started(site, "source", "add", url) as process:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(1)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "syndicate: interrupted\n")
