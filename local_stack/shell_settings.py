"""The local stack's settings as a file for shells, so that the commands work against it from other terminals."""

import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import certifi

from local_stack.stack import ROOT

SETTINGS_FILE = ROOT / ".local" / "settings.sh"


@contextlib.contextmanager
def settings_file(path: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Keep a file of `export` lines while the stack runs, readable by this user only.

    It puts the command `referral-fn` on the path, too. When the stack stops, the file is removed, unless another stack
    has replaced it meanwhile.
    """
    search_path = f'export PATH={shlex.quote(str(ROOT / ".venv" / "bin"))}:"$PATH"\n'
    text = search_path + "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            if path.read_text(encoding="utf-8") == text:
                path.unlink()


def with_public_authorities(environment: Mapping[str, str], root: Path, bundle: Path) -> dict[str, str]:
    """The environment with a bundle of certificates that lets other programs in the same shell reach the Internet.

    Args:
        environment: of the app, which trusts the stack's own authority only.
        root: the certificate of that authority.
        bundle: where to write the bundle. It stays when the stack stops, because shells still refer to it.
    """
    own = os.environ.get("SSL_CERT_FILE", "")
    public = Path(own if own not in ("", str(bundle)) and Path(own).exists() else certifi.where())
    text = root.read_bytes() + public.read_bytes()
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(text)
    return {**environment, **dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), str(bundle))}
