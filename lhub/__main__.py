"""`python -m lhub` is `lhub`."""

from lhub.cli.main import run

if __name__ == "__main__":
    run()
