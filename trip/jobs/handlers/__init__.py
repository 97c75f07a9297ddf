"""What a job of each kind does, and what the kinds share: sampling, estimates, steps told from a thread."""
