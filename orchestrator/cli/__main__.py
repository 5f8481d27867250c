"""`python -m orchestrator.cli` is `realmfleet`."""

from orchestrator.cli.app import main

main()
