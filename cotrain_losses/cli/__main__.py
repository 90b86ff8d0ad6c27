"""`python -m cotrain_losses.cli` is the command `cotrain`."""

from . import main

main()
