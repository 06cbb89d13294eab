"""`python -m services.relay`: see `services.origin.settings` and `services.relay.settings` for its environment.

It stands in front of one database like an origin: /healthz, /readyz, /__zdm/flag, /metrics.
"""

import os
import sys

from services.origin.http import Origin
from services.origin.server import Work, run
from services.origin.settings import SettingsError
from services.relay.publisher import Publisher
from services.relay.relay import Metrics, Relay
from services.relay.settings import Settings, settings_from


def main() -> None:
    """The whole program."""
    try:
        settings = settings_from(os.environ)
    except SettingsError as e:
        sys.exit(str(e))
    run(lambda origin: [], lambda origin: [relay(origin, settings)])


def relay(origin: Origin, settings: Settings) -> Work:
    """What it does all the time."""
    metrics = Metrics(origin.database.side, origin.metrics.registry)
    return Relay(origin.database, Publisher(settings).publish, metrics).run()


if __name__ == "__main__":
    main()
