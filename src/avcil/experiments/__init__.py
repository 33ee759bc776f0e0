"""A paper's table by one command: plan the runs, run them in several processes, put them into tables."""
