"""The certificates of the stand-ins: one authority of their own, which the app trusts by SSL_CERT_FILE."""

import ssl
from pathlib import Path

import trustme


class Authority:
    """A certificate authority made for one run, and a server certificate of it for this machine's loopback names."""

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
        """The TLS context of a stand-in."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """The TLS context of a client that trusts them."""
        return ssl.create_default_context(cafile=self.root)
