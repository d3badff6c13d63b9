"""``python -m autotune_nb.cli``."""

from autotune_nb.cli.main import main

main()
