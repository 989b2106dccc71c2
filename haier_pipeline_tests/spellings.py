"""How a server may spell a secret that it was sent, for the tests that search for it."""

import base64
import html
import json
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

HIDDEN = ("\0", "\u200b", "\ufeff", "\ud800", "\u00ad", "\u202e", "\ufe0f")


def spellings(secret: str, client_id: str) -> Iterator[str]:
    """The secret as it is and in other letter case, escaped, encoded, with hidden characters."""
    octets = secret.encode()
    yield from (secret, secret.upper(), secret.lower(), secret.swapcase())
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    yield json.dumps(json.dumps(secret)[1:-1])[1:-1]
    yield "".join(f"\\u{ord(char):04x}" for char in secret)
    yield "".join(f"\\u{ord(char):04X}" for char in secret)
    yield "".join(f"\\x{octet:02x}" for octet in octets)
    yield from (html.escape(secret), html.escape(html.escape(secret)))
    yield "".join(f"&#{ord(char)};" for char in secret)
    yield "".join(f"&#x{ord(char):X};" for char in secret)
    yield from (quote(secret), quote(secret, safe=""), quote(secret, safe="").lower())
    yield from (quote_plus(secret), quote(quote(secret, safe=""), safe=""))
    yield "".join(f"%{octet:02x}" for octet in octets)
    for content in (octets, f"{client_id}:{secret}".encode(), f":{secret}".encode()):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(content).decode()
            yield from (encoded, encoded.rstrip("="), quote(encoded, safe=""))
    for ahead in range(3):
        yield base64.b64encode(b"xyz"[:ahead] + octets + b'"}').decode()
    yield from (octets.hex(), octets.hex().upper(), octets.hex(":"), octets.hex(" "))
    for hidden in HIDDEN:
        yield hidden.join(secret)
    # A server that escapes what it was sent, hidden characters included.
    yield json.dumps("\0\u200b".join(secret))[1:-1]
