"""Who syncs: dealers from the environment, from ``haier_config``, or the sandbox.

Only finding and reading them belongs here. What a configuration must hold is the client's matter.
"""

from collections.abc import Callable, Collection, Mapping

from sqlalchemy import Engine

from haier_pipeline.catalog import configs
from haier_pipeline.errors import InvalidInput
from haier_pipeline.platform.config import SECRET_FIELDS, DealerConfig

ENVIRONMENT_DEALER = "haier"
SANDBOX_DEALER = "sandbox"


class Dealers:
    """The dealers of this installation.

    ``environment`` holds the configuration keys that came from variables; where it has a
    ``client_id`` it makes up the dealer ``haier`` and wins over a stored row of that name.
    ``sandbox`` starts the built-in platform where that is needed and returns the configuration
    keys that lead to it.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        environment: Mapping[str, str],
        allowed_hosts: Collection[str],
        secret_keys: Collection[str],
        sandbox: Callable[[], Mapping[str, str]],
    ) -> None:
        self._engine = engine
        self._environment = environment
        self._allowed_hosts = allowed_hosts
        self._secrets = configs.Secrets(secret_keys, SECRET_FIELDS)
        self._sandbox = sandbox

    def active(self) -> list[str]:
        """The names of all active dealers in order; ``["sandbox"]`` where nothing is configured."""
        names = set(configs.active_names(self._engine))
        if "client_id" in self._environment:
            names.add(ENVIRONMENT_DEALER)
        return sorted(names) or [SANDBOX_DEALER]

    def choose(self, name: str | None) -> list[str]:
        """One dealer by name, or all active ones.

        Raises:
            InvalidInput: no active dealer has that name.
        """
        active = self.active()
        if name is None:
            return active
        if name not in active:
            raise InvalidInput(
                f"there is no active dealer named {name!r}; active: {', '.join(active)}"
            )
        return [name]

    def config(self, name: str) -> DealerConfig:
        """The checked configuration of a dealer.

        Raises:
            InvalidConfig: a key is missing, malformed or cannot be decrypted.
            InvalidInput: there is no such dealer.
        """
        if name == ENVIRONMENT_DEALER and "client_id" in self._environment:
            return DealerConfig.parse(name, self._environment, allowed_hosts=self._allowed_hosts)
        stored = configs.read(self._engine, name, self._secrets)
        if stored is not None:
            return DealerConfig.parse(name, stored, allowed_hosts=self._allowed_hosts)
        if name == SANDBOX_DEALER:
            # Pace and counties can be tried out on the sandbox too.
            chosen = {
                key: value
                for key, value in self._environment.items()
                if key in ("county_codes", "rate_limit")
            }
            return DealerConfig.parse(
                name, {**self._sandbox(), **chosen}, allowed_hosts=("127.0.0.1",)
            )
        raise InvalidInput(f"there is no dealer named {name!r}")
