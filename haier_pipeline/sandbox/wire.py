"""How an answer leaves the sandbox, whole or mistreated: headers, bytes, closing, resetting.

What the answer says is decided elsewhere; here it only becomes bytes on a socket.
"""

import json
import secrets
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from haier_pipeline.sandbox.faults import RawToken, Rule

JSON = "application/json; charset=utf-8"
MEGABYTE = 1_000_000
_BLOCK = 64 * 1024


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = JSON


def encode(value: Any) -> bytes:
    """JSON in UTF-8. Raw tokens go in bare; lone surrogates, which UTF-8 cannot hold, escaped."""
    tokens: list[str] = []
    # The marker cannot be guessed, so no text of a rule is taken for a token.
    marker = secrets.token_hex(8) if _holds_raw(value) else ""
    if marker:
        value = _marked(value, marker, tokens)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for number, token in enumerate(tokens):
        text = text.replace(f'"{marker}.{number}."', token)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return "".join(
            f"\\u{ord(letter):04x}" if "\ud800" <= letter <= "\udfff" else letter for letter in text
        ).encode()


def _holds_raw(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_raw, value.values()))
    if isinstance(value, list):
        return any(map(_holds_raw, value))
    return isinstance(value, RawToken)


def _marked(value: Any, marker: str, tokens: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _marked(inner, marker, tokens) for key, inner in value.items()}
    if isinstance(value, list):
        return [_marked(inner, marker, tokens) for inner in value]
    if isinstance(value, RawToken):
        tokens.append(str(value))
        return f"{marker}.{len(tokens) - 1}."
    return value


_date_of: tuple[int, str] = (0, "")


def _date() -> str:
    """The Date header, made once a second: formatting it for each answer costs a tenth of it."""
    global _date_of
    now = int(time.time())
    if _date_of[0] != now:
        _date_of = (now, formatdate(now, usegmt=True))
    return _date_of[1]


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def _head(reply: Reply, *framing: tuple[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, 'Unknown')}",
        f"Date: {_date()}",
        f"Content-Type: {reply.content_type}",
        *(f"{name}: {value}" for name, value in (*reply.headers, *framing)),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _sized(reply: Reply, size: int, *more: tuple[str, str]) -> bytes:
    return _head(reply, ("Content-Length", str(size)), *more)


def send(sock: socket.socket, reply: Reply) -> None:
    """The whole answer in one write, so that it is one packet where it fits."""
    sock.sendall(_sized(reply, len(reply.body)) + reply.body)


def mistreat(sock: socket.socket, reply: Reply, rule: Rule, stop: threading.Event) -> bool:
    """Sends the answer the way ``rule`` wants it; whether the connection is of use afterwards."""
    arguments = rule.arguments
    body = reply.body
    match rule.kind:
        case "truncate" if arguments.get("chunked"):
            head = _head(reply, ("Transfer-Encoding", "chunked"))
            sock.sendall(head + f"{len(body):x}\r\n".encode() + body[: len(body) // 2])
        case "truncate":
            sock.sendall(_sized(reply, len(body)) + body[: len(body) // 2])
        case "gzip_truncate":
            packed = zlib.compress(body, wbits=31)
            packed = packed[: len(packed) // 2]
            sock.sendall(_sized(reply, len(packed), ("Content-Encoding", "gzip")) + packed)
        case "oversize":
            size = arguments.get("bytes", 50 * MEGABYTE)
            blocks = _large(size)
            first = next(blocks)
            sock.sendall(_sized(reply, max(size, len(first))) + first)
            for block in blocks:
                sock.sendall(block)
        case "gzip_bomb":
            framing = (("Content-Encoding", "gzip"), ("Transfer-Encoding", "chunked"))
            sock.sendall(_head(reply, *framing))
            packer = zlib.compressobj(wbits=31)
            for block in _large(arguments.get("bytes", 200 * MEGABYTE)):
                _send_chunk(sock, packer.compress(block))
            _send_chunk(sock, packer.flush())
            sock.sendall(b"0\r\n\r\n")
        case "drip":
            sock.sendall(_sized(reply, len(body)))
            for place in range(len(body)):
                if stop.wait(arguments.get("interval", 1.0)):
                    return False
                sock.sendall(body[place : place + 1])
        case "reset":
            if arguments.get("when") == "body":
                sock.sendall(_sized(reply, len(body)) + body[: len(body) // 2])
                # A reset overtakes what the peer has not read yet; the half body should arrive.
                time.sleep(0.05)
            # With linger 0 the close below sends RST in place of FIN.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return rule.kind not in ("truncate", "reset")


def _large(size: int) -> Iterator[bytes]:
    """Valid JSON of ``size`` bytes, in blocks."""
    opening, closing = b'[{"productCode":"SANDBOX00","filler":"', b'"}]'
    yield opening
    left = size - len(opening) - len(closing)
    filler = b"x" * _BLOCK
    while left > 0:
        yield filler[:left]
        left -= _BLOCK
    yield closing


def _send_chunk(sock: socket.socket, data: bytes) -> None:
    if data:
        sock.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")
