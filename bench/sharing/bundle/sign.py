"""Signatures of bundles with the keys that people have: `ssh-keygen -Y`, on every system that has OpenSSH (8.2 or later)."""

import subprocess
from pathlib import Path
from typing import BinaryIO

from harmonize.errors import ConfigError, SetupError, StoreError

NAMESPACE = "unseen-bundle"  # a signature made for something else does not count here


def sign(path: Path, key: Path) -> Path:
    """Write PATH.sig with a private (or an agent's public) SSH key and return its path; ConfigError when that does not work."""
    signature = path.with_name(f"{path.name}.sig")
    signature.unlink(missing_ok=True)
    done = _ssh("sign", "-f", str(key), "-n", NAMESPACE, str(path))
    if done.returncode or not signature.is_file():
        raise ConfigError(f"cannot sign: {_said(done)}", str(key), "name an SSH key, e.g. --sign ~/.ssh/id_ed25519")
    return signature


def signer(path: Path, signers: Path) -> str:
    """Return who signed a bundle, of those whom an allowed-signers file names (man ssh-keygen, ALLOWED SIGNERS).

    Raises StoreError when PATH.sig is absent, of another file or of somebody else; ConfigError without that file.
    """
    signature = path.with_name(f"{path.name}.sig")
    if not signers.is_file():
        raise ConfigError("no such file of signers", str(signers), "lines of: NAME ssh-ed25519 AAAA...")
    if not signature.is_file():
        raise StoreError(
            "the bundle is not signed", str(signature), "ask its maker for the .sig file, or leave --signers out"
        )
    found = _ssh("find-principals", "-s", str(signature), "-f", str(signers))
    name = found.stdout.decode(errors="replace").strip().split("\n")[0]
    if not found.returncode and name:
        with path.open("rb") as content:
            done = _ssh("verify", "-f", str(signers), "-I", name, "-n", NAMESPACE, "-s", str(signature), stdin=content)
        if not done.returncode:
            return name
    fix = "do not use it, or ask its maker which key signs"
    raise StoreError("the signature is of another file, or of nobody in the list", str(signature), fix)


def _ssh(action: str, *arguments: str, stdin: BinaryIO | None = None) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(  # noqa: S603
            ["ssh-keygen", "-Y", action, *arguments],  # noqa: S607
            stdin=stdin,
            capture_output=True,
            timeout=600,
            check=False,
        )
    except OSError as error:
        fix = "install OpenSSH 8.2 or later, or leave signatures out"
        raise SetupError("signatures need ssh-keygen", "ssh-keygen", fix) from error


def _said(done: "subprocess.CompletedProcess[bytes]") -> str:
    return done.stderr.decode(errors="replace").strip().split("\n")[-1][:200]
