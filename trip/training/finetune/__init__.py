"""`python -m trip finetune`: a few clips of one motion teach a checkpoint that motion."""
