"""`python -m trip train-editor`: the small instruction editor, on photos edited by rule."""
