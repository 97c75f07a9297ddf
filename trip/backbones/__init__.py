"""Video models by others behind the one interface that `TripPipeline` has: a photo and a prompt in, a clip out, with or without the image
noise prior. `kinds` says how each class of diffusers' pipelines is called, `backbone` calls it, `opening` finds and opens one,
`configurations` has the real sizes, and `memory` what they take.
"""
