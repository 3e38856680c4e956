"""A certificate authority of a test's own."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Vouches, under its *name*, for whom it is asked to; its own certificate is the file `pem` in *directory*."""

    def __init__(self, directory: Path, name: str = "authority of a test") -> None:
        self.pem = directory / "authority.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def serving(self, host: str, *, days: tuple[int, int] = (-1, 1)) -> ssl.SSLContext:
        """Return the TLS context of a server that is *host*, an IPv4 address or a name.

        Its certificate is valid from the first to the second of *days*, from now on.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        is_address = host.replace(".", "").isdigit()
        named = x509.IPAddress(ip_address(host)) if is_address else x509.DNSName(host)
        certificate = (
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), key, days)
            .add_extension(x509.SubjectAlternativeName([named]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem = self.pem.with_name(f"{host}.pem")
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pem.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: tuple[int, int] = (-1, 1)
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            self._name,
            subject,
            key.public_key(),
            x509.random_serial_number(),
            now + timedelta(days=days[0]),
            now + timedelta(days=days[1]),
        )
