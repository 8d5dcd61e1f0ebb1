"""`bench app`: a local page to test images, in the browser of this machine."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import StoreOption, examples
from harmonize.errors import SetupError

EXAMPLES = examples("bench app", "bench app --store runs --port 8600 --headless")
HOST = "127.0.0.1"  # only this machine can connect
MAX_UPLOAD_MB = 100  # maximum size of an uploaded file; the largest radiographs take 40 MB as uncompressed DICOM


def app(
    store: StoreOption = Path("runs"),
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Local port of the page.")] = 8501,
    headless: Annotated[bool, typer.Option("--headless", help="Open no browser; only print the address.")] = False,
) -> None:
    """Open a local page to test images.

    It shows probabilities, positive calls and heat maps. Press Ctrl-C to stop it.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise SetupError("streamlit is not installed", "bench app", "pip install 'unseen-cxr[app]'")
    words = command(port, headless)
    os.execve(words[0], words, os.environ | {"BENCH_STORE": str(store.resolve())})  # noqa: S606 # nosec B606


def command(port: int, headless: bool) -> list[str]:
    """Return the command line that starts streamlit, as a list of words.

    The server accepts only connections from this machine, sends no usage statistics, and accepts uploads up to MAX_UPLOAD_MB.
    """
    options = {
        "server.address": HOST,
        "server.port": port,
        "server.headless": headless,
        "server.showEmailPrompt": False,
        "server.maxUploadSize": MAX_UPLOAD_MB,
        "server.fileWatcherType": "none",
        # requests with another host name are refused, because another site can point its own host name at this machine
        "server.allowedHosts": (HOST, "localhost"),
        # if another site shows this page in a frame, the browser does not send this server's cookie
        "server.xsrfCookieSameSite": "strict",
        # a site that shows this page in a frame cannot send commands to the page; by default, streamlit's own sites can
        "client.allowedOrigins": f"http://{HOST}:{port}",
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "logger.level": "warning",
    }
    pairs = [(key, v) for key, value in options.items() for v in (value if isinstance(value, tuple) else (value,))]
    flags = [text for key, value in pairs for text in (f"--{key}", str(value).lower())]
    return [sys.executable, "-m", "streamlit", "run", str(Path(__file__).with_name("page.py")), *flags]
