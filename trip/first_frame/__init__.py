"""First frames that are not photos: painted from words (SDXL), edited by an instruction (InstructPix2Pix), drawn over a map (ControlNet).

`catalogue` names the models, `fetch` gets them, `opening` opens what is on this machine; the three ways are a file each.
"""
