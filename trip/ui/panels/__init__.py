"""What stands beside and below the tabs: how far a job is, what came of it, what waits, and what was made before."""
