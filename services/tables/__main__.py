"""`python -m services.tables`: see `services.origin.settings` for its environment."""

from services.origin.server import run
from services.tables.api import routes

if __name__ == "__main__":
    run(routes)
