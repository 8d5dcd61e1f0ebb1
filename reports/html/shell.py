"""Style sheets, scripts and the content security policy that all pages share."""

import base64
from functools import cache
from hashlib import sha256
from pathlib import Path

from markupsafe import Markup

from reports import extensions


def shell(styles: tuple[str, ...], scripts: tuple[str, ...] = ("theme.js",)) -> dict[str, str]:
    """Return what the template of a page needs: its style sheet, its script, and the policy, which allows only these and inline images.

    By default, the only script switches between the light and the dark theme.
    """
    style, script = joined(styles), joined(scripts)
    of_style, of_script = (base64.b64encode(sha256(text.encode()).digest()).decode() for text in (style, script))
    return {
        "policy": f"default-src 'none'; script-src 'sha256-{of_script}'; style-src 'sha256-{of_style}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        "style": Markup(style),  # noqa: S704  (our own files)
        "script": Markup(script),  # noqa: S704
    }


@cache
def joined(names: tuple[str, ...]) -> str:
    """Return the texts of files in `reports/templates`, or in the folder `templates` of an extension, joined by line breaks."""
    folders = [Path(__file__).parents[1] / "templates", *extensions.files("templates").values()]
    paths = [next(folder / name for folder in folders if (folder / name).is_file()) for name in names]
    return "\n".join(path.read_text(encoding="utf-8").strip() for path in paths)
