"""`python -m app.cli` is `heloise`."""

from app.cli import run

if __name__ == "__main__":
    run()
