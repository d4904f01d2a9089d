"""``python -m radsearch``."""

from radsearch.cli import main

main()
