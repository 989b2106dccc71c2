"""The sandbox: a stand-in for Haier's platform that can be told to misbehave.

A real HTTP server with a realistic, deterministic catalog. It enforces the wire contract (fields,
tokens, passwords, 100 calls a second), and reports what it saw. It is the default peer where no
credentials are configured, and the peer of the tests. Standard library only, so that it starts at
once; it shares no code with the client, so that a misreading of the contract cannot hide in both.

``catalog`` what it answers, ``contract`` which interfaces there are and what they demand,
``order_contract`` and ``orders`` the same of the order side, which keeps the orders it has taken,
``settings`` which form of the contract it follows, ``faults`` how it misbehaves, ``report`` what it
saw, ``wire`` how bytes leave it, ``server`` the whole, ``process`` the whole as a child process.
Nothing of the pipeline itself belongs here.
"""

from collections.abc import Mapping
from types import MappingProxyType

CREDENTIALS: Mapping[str, str] = MappingProxyType(
    {
        "client_id": "sandbox",
        "client_secret": "sandbox-secret",
        "customer_code": "8800123456",
        "send_to_code": "8800654321",
        "supplier_code": "1001",
        "password": "sandbox-password",
        "seller_password": "sandbox-seller",
        "county_codes": "110101,310101",
        "ylh_client_id": "sandbox-ylh",
        "ylh_client_secret": "sandbox-ylh-secret",
        "ylh_username": "sandbox-user",
        "ylh_password": "sandbox-ylh-password",
        "ylh_source_system": "sandbox-shop",
        "ylh_shop_name": "沙箱电器商行",
        "ylh_callback_app_key": "sandbox-app",
        "ylh_callback_secret": "sandbox-callback-secret",
    }
)
"""What a dealer's configuration must hold to be let in; the keys are those of ``HaierConfig``.

They open nothing but this sandbox. Every ``client_id`` that begins with ``sandbox`` is a dealer of
its own with the same secret. Where the order side is, ``ylh_base_url``, goes with the address.
"""
