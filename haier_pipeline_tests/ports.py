"""Ports that stay free until a test's own servers take them."""

import random
import socket

# Below what Linux gives to connections and to servers that ask for any port: the neighbours'
# tests, which run at the same time, take only such ports.
_FIRST, _LAST = 20_000, 32_000


def free_ports(count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        port = random.randint(_FIRST, _LAST)
        with socket.socket() as tried:
            if port not in found and tried.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found
