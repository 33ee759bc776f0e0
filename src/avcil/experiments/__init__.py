"""Tables of results from one command: plan the runs, train them in parallel, write tables."""
