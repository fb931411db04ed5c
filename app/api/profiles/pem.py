"""Validate PEM certificates and keys in requests."""

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

if TYPE_CHECKING:
    from cryptography import x509
from pydantic import SecretStr

MIN_RSA_BITS: Final = 2048  # RFC 7518 section 3.3
_PUBLIC: Final = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def check_certificates(text: str) -> str:
    """Return the text if it holds certificates; raises ValueError."""
    _load_certificates(text)
    return text


def check_private_key(key: SecretStr) -> SecretStr:
    """Return the key if it is private and unencrypted; raises ValueError."""
    _load_private_key(key)
    return key


def check_rsa_key(key: SecretStr) -> SecretStr:
    """Like `check_private_key`, but require RSA."""
    private_key = _load_private_key(key)
    if not (isinstance(private_key, RSAPrivateKey) and private_key.key_size >= MIN_RSA_BITS):
        raise ValueError(
            f"write an RSA key of at least {MIN_RSA_BITS} bits: Heloise signs with RS256"
        )
    return key


def check_pair(certificate: str, private_key: SecretStr) -> None:
    """Raise ValueError unless the key belongs to the first certificate."""
    ours = _load_certificates(certificate)[0].public_key().public_bytes(*_PUBLIC)
    if _load_private_key(private_key).public_key().public_bytes(*_PUBLIC) != ours:
        raise ValueError("the key does not match client_certificate")


def _load_certificates(text: str) -> "list[x509.Certificate]":
    from cryptography import x509  # few requests contain certificates

    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        raise ValueError(
            "not a PEM certificate; paste the whole file, -----BEGIN CERTIFICATE----- and -----END"
            " CERTIFICATE----- included"
        ) from None


def _load_private_key(key: SecretStr) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(key.get_secret_value().encode(), password=None)
    except TypeError:
        reason = "the key has a passphrase; remove it (Heloise stores the key encrypted)"
    except Exception:  # noqa: BLE001 - the library raises several kinds for what it cannot read
        reason = "not a PEM private key; paste the whole file, BEGIN and END lines included"
    raise ValueError(reason)
