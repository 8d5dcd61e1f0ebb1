"""`bench app`: a local page to test one image, in the browser of this machine."""

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

from bench.cli.options import StoreOption, examples
from harmonize.errors import ConfigError, SetupError

EXAMPLES = examples("bench app", "bench app --store runs --port 8600 --headless")
HOST = "127.0.0.1"  # only this machine can connect
MAX_UPLOAD_MB = 100  # maximum size of an uploaded file; the largest radiographs take 40 MB as uncompressed DICOM
WAIT_S = 60.0  # maximum number of seconds in which the server must start
END_S = 1.0  # seconds until a server that has not stopped is killed; the server has nothing to save


def app(
    store: StoreOption = Path("runs"),
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Local port of the page.")] = 8501,
    headless: Annotated[bool, typer.Option("--headless", help="Open no browser; only print the address.")] = False,
) -> None:
    """Open a local page to test one image.

    It shows probabilities, positive calls and heat maps. Press Ctrl-C to stop it.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise SetupError("streamlit is not installed", "bench app", "pip install 'unseen-cxr[app]'")
    if _in_use(port):
        raise ConfigError(f"port {port} is in use", "--port", f"choose another port: bench app --port {port + 1}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM then stops the server, as Ctrl-C does
    server = subprocess.Popen(command(port), env=os.environ | {"BENCH_STORE": str(store.resolve())})  # noqa: S603
    try:
        if _answers(server, port):
            typer.echo(f"the page is at http://{HOST}:{port} (press Ctrl-C to stop)")
            if not headless:
                webbrowser.open(f"http://{HOST}:{port}")
        exit_code = server.wait()
    except KeyboardInterrupt:
        exit_code = 0
    finally:
        _stop(server)
    if exit_code:
        raise typer.Exit(1)


def command(port: int) -> list[str]:
    """Return the command line that starts streamlit, as a list of words.

    The server accepts only connections from this machine, sends no usage statistics, and accepts uploads up to MAX_UPLOAD_MB.
    """
    page = Path(__file__).with_name("page.py")
    options = {
        "server.address": HOST,
        "server.port": port,
        "server.headless": "true",  # otherwise streamlit asks for an e-mail address
        "server.maxUploadSize": MAX_UPLOAD_MB,
        "server.fileWatcherType": "none",
        # requests with another host name are refused, because another site can point its own host name at this machine
        "server.allowedHosts": (HOST, "localhost"),
        # if another site shows this page in a frame, the browser does not send this server's cookie
        "server.xsrfCookieSameSite": "strict",
        # a site that shows this page in a frame cannot send commands to the page; by default, streamlit's own sites can
        "client.allowedOrigins": f"http://{HOST}:{port}",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "logger.level": "warning",
    }
    pairs = [(key, v) for key, value in options.items() for v in (value if isinstance(value, tuple) else (value,))]
    flags = [text for key, value in pairs for text in (f"--{key}", str(value))]
    return [sys.executable, "-m", "streamlit", "run", str(page), *flags]


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """Stop the server. If the server does not end within END_S seconds, because browsers are connected, kill it."""
    server.terminate()
    try:
        server.wait(END_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _in_use(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def _answers(server: "subprocess.Popen[bytes]", port: int) -> bool:
    """Wait until the server answers; return True. Return False if the server stops, or does not answer within WAIT_S seconds."""
    from http.client import HTTPConnection, HTTPException  # here, because it would slow the start of every command

    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and server.poll() is None:
        connection = HTTPConnection(HOST, port, timeout=2)
        try:
            connection.request("GET", "/_stcore/health")
            connection.getresponse().read()
            return True
        except (OSError, HTTPException):
            time.sleep(0.2)
        finally:
            connection.close()
    return False
