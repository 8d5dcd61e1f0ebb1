"""Style sheets, scripts and the content security policy that all pages share."""

import base64
from hashlib import sha256
from importlib.resources import files


def policy(scripts: list[str], styles: list[str]) -> str:
    """Return the Content-Security-Policy: it allows only these scripts and style sheets (full texts), and inline images."""

    def hashes(texts: list[str]) -> str:
        digests = (base64.b64encode(sha256(t.encode()).digest()).decode() for t in texts)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes(scripts)}; style-src {hashes(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def joined(names: tuple[str, ...]) -> str:
    """Return the texts of files in `reports/templates`, joined by line breaks."""
    folder = files("reports") / "templates"
    return "\n".join((folder / name).read_text(encoding="utf-8").strip() for name in names)
