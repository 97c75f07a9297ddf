"""The stages of `python -m trip train`: what each learns, as the loop runs it."""
