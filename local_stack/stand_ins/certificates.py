"""TLS certificates of the stand-ins, issued by an authority of their own that the app trusts through SSL_CERT_FILE."""

import ssl
from pathlib import Path

import trustme


class Authority:
    """A certificate authority for one run, and a server certificate for the loopback names of this machine.

    Args:
        folder: where the PEM files go.
    """

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        server = authority.issue_cert("localhost", "127.0.0.1")
        self.root = folder / "ca.pem"
        self.certificate = folder / "server.pem"
        self.key = folder / "server.key"
        authority.cert_pem.write_to_path(self.root)
        for number, blob in enumerate(server.cert_chain_pems):
            blob.write_to_path(self.certificate, append=number > 0)
        server.private_key_pem.write_to_path(self.key)

    def server_context(self) -> ssl.SSLContext:
        """Create the TLS context of a stand-in."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Create the TLS context of a client that trusts the stand-ins."""
        return ssl.create_default_context(cafile=self.root)
