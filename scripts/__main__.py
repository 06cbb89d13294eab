"""`python -m scripts`, which `./zdm` runs."""

from scripts.cli import main

if __name__ == "__main__":
    main()
