"""The tabs: a form each, which asks for jobs."""
