"""`bench app`: the page about one image, in the browser of this machine."""

import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import StoreOption
from harmonize.errors import ConfigError, SetupError

EXAMPLES = "Examples:  bench app   |   bench app --store runs --port 8600 --headless"
HOST = "127.0.0.1"  # no other machine gets an answer
MAX_UPLOAD_MB = 100
WAIT_S = 60.0  # for the server's first sign of life
END_S = 3.0  # that it gets to end


def add_app_command(to: typer.Typer) -> None:
    """Add this command to the application."""
    to.command("app", epilog=EXAMPLES)(app)


def app(
    store: StoreOption = Path("runs"),
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of this machine.")] = 8501,
    headless: Annotated[bool, typer.Option("--headless", help="Open no browser; print the address alone.")] = False,
) -> None:
    """Ask runs about one image in the browser of this machine. Probabilities, calls, heat maps; Ctrl-C ends it."""
    if importlib.util.find_spec("streamlit") is None:
        raise SetupError("the page needs streamlit", "bench app", "pip install 'unseen-cxr[app]'")
    if _taken(port):
        raise ConfigError(f"port {port} is taken", "--port", f"choose another: bench app --port {port + 1}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server must not outlive its command
    server = subprocess.Popen(command(port), env=os.environ | {"BENCH_STORE": str(store.resolve())})  # noqa: S603
    try:
        if _answers(server, port):
            typer.echo(f"the page is at http://{HOST}:{port} (Ctrl-C ends it)")
            if not headless:
                webbrowser.open(f"http://{HOST}:{port}")
        ended = server.wait()
    except KeyboardInterrupt:
        ended = 0
    finally:
        _end(server)
    if ended:
        raise typer.Exit(1)


def command(port: int) -> list[str]:
    """Return what starts streamlit: bound to this machine, silent about its use, without an upload larger than an image."""
    page = Path(__file__).parents[1] / "app" / "page.py"
    options = {
        "server.address": HOST,
        "server.port": port,
        "server.headless": "true",  # it would ask for an e-mail address else
        "server.maxUploadSize": MAX_UPLOAD_MB,
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "logger.level": "warning",
    }
    flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return [sys.executable, "-m", "streamlit", "run", str(page), *flags]


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End the server; it would wait for browsers that keep their connections."""
    server.terminate()
    try:
        server.wait(END_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _taken(port: int) -> bool:
    with socket.socket() as asked:
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            asked.bind((HOST, port))
        except OSError:
            return True
    return False


def _answers(server: "subprocess.Popen[bytes]", port: int) -> bool:
    """Wait until the server answers; False when it ended or took too long."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and server.poll() is None:
        asked = http.client.HTTPConnection(HOST, port, timeout=2)
        try:
            asked.request("GET", "/_stcore/health")
            asked.getresponse().read()
            return True
        except (OSError, http.client.HTTPException):
            time.sleep(0.2)
        finally:
            asked.close()
    return False
