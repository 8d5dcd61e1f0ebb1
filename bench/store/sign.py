"""Sign bundles with SSH keys, and verify the signatures. Both use `ssh-keygen -Y` (OpenSSH 8.2 or later)."""

import subprocess
from pathlib import Path
from typing import BinaryIO

from harmonize.errors import ConfigError, SetupError, StoreError

NAMESPACE = "unseen-bundle"  # word in each signature, so that a signature made for another purpose is not accepted


def sign(path: Path, key: Path) -> Path:
    """Sign a bundle with an SSH key. Write the signature into the file "<path>.sig" and return the path of this file.

    `key`: file with a private key, or with a public key whose private key is in the SSH agent. Raises ConfigError if ssh-keygen
    cannot sign with the key, SetupError without ssh-keygen.
    """
    signature = path.with_name(f"{path.name}.sig")
    signature.unlink(missing_ok=True)
    done = _ssh("sign", "-f", str(key), "-n", NAMESPACE, str(path))
    if done.returncode or not signature.is_file():
        raise ConfigError(f"cannot sign: {_last_line(done)}", str(key), "give an SSH key: --sign ~/.ssh/id_ed25519")
    return signature


def check_key(key: Path) -> None:
    """Raise ConfigError if the file of a key for `sign` does not exist."""
    if not key.is_file():
        raise ConfigError("cannot sign: no such key file", str(key), "give an SSH key: --sign ~/.ssh/id_ed25519")


def signer(path: Path, signers: Path) -> str:
    """Verify the signature "<path>.sig" of a bundle; return the signer's name in the file `signers`.

    `signers`: list of names and public keys (see ALLOWED SIGNERS in `man ssh-keygen`). Raises StoreError if the signature is
    missing or belongs to another file, or if its signer is not listed. Raises ConfigError if the file `signers` is missing.
    """
    signature = path.with_name(f"{path.name}.sig")
    if not signers.is_file():
        fix = "write lines of the form: NAME ssh-ed25519 AAAA..."
        raise ConfigError("the file of signers does not exist", str(signers), fix)
    if not signature.is_file():
        fix = "ask its maker for the .sig file, or omit --signers"
        raise StoreError(f"{path.name} is not signed", str(signature), fix)
    search = _ssh("find-principals", "-s", str(signature), "-f", str(signers))
    name = search.stdout.decode(errors="replace").strip().split("\n")[0]
    if not search.returncode and name:
        with path.open("rb") as content:
            done = _ssh("verify", "-f", str(signers), "-I", name, "-n", NAMESPACE, "-s", str(signature), stdin=content)
        if not done.returncode:
            if set(name) & set("*?!,"):
                fix = "write one name per line, without *, ?, ! and commas"
                raise StoreError(f"the signer's name {name!r} is a pattern, so it names nobody", str(signers), fix)
            return name
    fix = "do not use the bundle, or ask its maker which key signed it"
    raise StoreError("the signature belongs to another file, or the signer is not listed", str(signature), fix)


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
        fix = "install OpenSSH 8.2 or later, or omit --sign and --signers"
        raise SetupError("signatures need ssh-keygen", "ssh-keygen", fix) from error


def _last_line(done: "subprocess.CompletedProcess[bytes]") -> str:
    return done.stderr.decode(errors="replace").strip().split("\n")[-1][:200]
