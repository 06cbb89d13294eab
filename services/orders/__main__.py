"""`python -m services.orders`: see `services.origin.settings` for its environment."""

from services.orders.api import routes
from services.origin.server import run

if __name__ == "__main__":
    run(routes)
