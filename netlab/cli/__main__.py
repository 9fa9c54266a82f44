"""`python -m netlab.cli` is `klab`."""

from netlab.cli import main

main()
