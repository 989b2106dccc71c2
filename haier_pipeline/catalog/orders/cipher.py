"""Personal data at rest: authenticated encryption bound to its place, a digest to find a mobile.

Keys are derived from those of ``HAIER_SECRET_KEY``, so that one variable rotates everything, and a
ciphertext of one purpose is worth nothing in another.
"""

import base64
import binascii
import hmac
import os
from collections.abc import Collection
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from haier_pipeline.errors import InvalidInput

_MARK: Final = "v1:"
_NONCE_BYTES: Final = 12
_TABLE: Final = "retail_order"


class OrderCipher:
    """Encrypts and decrypts the personal columns of ``retail_order``.

    ``keys`` are those of ``HAIER_SECRET_KEY``, newest first: the first encrypts, all decrypt. A
    ciphertext is bound to the table, the row (dealer and ``so_id``) and the column: copied
    elsewhere it is refused. Its ``repr`` shows no key.

    Raises:
        InvalidInput: there is no key, or something that is none.
    """

    def __init__(self, keys: Collection[str]) -> None:
        if not keys:
            raise InvalidInput(
                "HAIER_SECRET_KEY is not set, so retail orders can neither be stored nor read; "
                "make a key with: python -c 'from cryptography.fernet import Fernet; "
                "print(Fernet.generate_key().decode())'"
            )
        try:
            secrets = [base64.urlsafe_b64decode(key) for key in keys]
        except (ValueError, binascii.Error):
            secrets = [b""]
        if any(len(secret) != 32 for secret in secrets):
            raise InvalidInput(
                "HAIER_SECRET_KEY holds something that is no key "
                "(32 bytes in URL-safe base64; several are separated by commas)"
            )
        self._ciphers = [AESGCM(_derived(secret, b"encryption")) for secret in secrets]
        self._digest_keys = [_derived(secret, b"mobile digest") for secret in secrets]

    def encrypt(self, dealer: str, so_id: str, column: str, value: str | None) -> str | None:
        """The value as it is stored; None stays None."""
        if value is None:
            return None
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[0].encrypt(nonce, value.encode(), _place(dealer, so_id, column))
        return _MARK + base64.urlsafe_b64encode(nonce + sealed).decode()

    def decrypt(self, dealer: str, so_id: str, column: str, stored: str | None) -> str | None:
        """The value that was encrypted for this very place.

        Raises:
            InvalidInput: it was stored under a key unknown here, for another place, or not
                encrypted at all; names the order and the column.
        """
        if stored is None:
            return None
        place = _place(dealer, so_id, column)
        try:
            content = base64.urlsafe_b64decode(stored.removeprefix(_MARK))
        except ValueError:
            content = b""
        if not stored.startswith(_MARK):
            content = b""
        for cipher in self._ciphers if len(content) > _NONCE_BYTES else ():
            try:
                opened = cipher.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], place)
            except InvalidTag:
                continue
            return opened.decode()
        raise InvalidInput(
            f"{column} of the order {so_id} cannot be decrypted with the keys in HAIER_SECRET_KEY; "
            "add the key it was stored with"
        )

    def mobile_digest(self, mobile: str) -> str:
        """What stands for a mobile number in the table, under the newest key; 64 digits."""
        return self.mobile_digests(mobile)[0]

    def mobile_digests(self, mobile: str) -> list[str]:
        """The digests of a number under every key: what is looked for."""
        # Written in groups it is the same number.
        plain = "".join(mobile.split()).replace("-", "").encode()
        return [hmac.new(key, plain, sha256).hexdigest() for key in self._digest_keys]


def _derived(secret: bytes, purpose: bytes) -> bytes:
    info = b"haier-pipeline retail orders " + purpose
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)


def _place(dealer: str, so_id: str, column: str) -> bytes:
    # None of them holds a control character, so two places never look alike.
    return "\0".join((_TABLE, dealer, so_id, column)).encode()
