"""The machine below the models: what the environment says, files, memory, the accelerator. Imports nothing else of trip."""
