"""Style sheets, scripts and the content security policy that all pages share."""

import base64
from functools import cache
from hashlib import sha256
from pathlib import Path

from markupsafe import Markup

from reports import extensions


def policy(scripts: list[str], styles: list[str]) -> str:
    """Return the Content-Security-Policy: it allows only these scripts and style sheets (full texts), and inline images."""

    def hashes(texts: list[str]) -> str:
        digests = (base64.b64encode(sha256(t.encode()).digest()).decode() for t in texts)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes(scripts)}; style-src {hashes(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def shell(styles: tuple[str, ...], scripts: tuple[str, ...] = ("theme.js",)) -> dict[str, str]:
    """Return what the template of a page needs: its policy, style sheet and script.

    By default, the only script switches between the light and the dark theme.
    """
    style, script = joined(styles), joined(scripts)
    return {
        "policy": policy([script], [style]),
        "style": Markup(style),  # noqa: S704  (our own files)
        "script": Markup(script),  # noqa: S704
    }


@cache
def joined(names: tuple[str, ...]) -> str:
    """Return the texts of files in `reports/templates`, or in the folder `templates` of an extension, joined by line breaks."""
    folders = [Path(__file__).parents[1] / "templates", *extensions.files("templates")]
    paths = [next(folder / name for folder in folders if (folder / name).is_file()) for name in names]
    return "\n".join(path.read_text(encoding="utf-8").strip() for path in paths)
