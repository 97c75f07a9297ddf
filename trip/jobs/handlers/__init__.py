"""What a job of each kind does, and what the kinds share: sampling, estimates, steps reported from a thread."""
