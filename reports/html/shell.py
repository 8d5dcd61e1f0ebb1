"""Style sheets, scripts and the content security policy that all pages share."""

import base64
from hashlib import sha256
from importlib.resources import files


def policy(scripts: list[str], styles: list[str]) -> str:
    """Return the Content-Security-Policy of a page, which allows only these scripts and style sheets, and inline images.

    `scripts` and `styles` are the texts of the scripts and style sheets. The policy contains their hashes.
    """

    def hashes(texts: list[str]) -> str:
        digests = (base64.b64encode(sha256(t.encode()).digest()).decode() for t in texts)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes(scripts)}; style-src {hashes(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def joined(names: tuple[str, ...]) -> str:
    """Return the texts of these files of the folder `templates`, joined with line breaks."""
    folder = files("reports") / "templates"
    return "\n".join((folder / name).read_text(encoding="utf-8").strip() for name in names)
