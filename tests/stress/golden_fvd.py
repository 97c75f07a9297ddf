"""Whether the I3D that was fetched is the network that FVD is defined with: clips of zeros against clips of ones, three lengths.

python tests/stress/golden_fvd.py [--models DIR]

The distances are published for TensorFlow's original (30 frames: 151.39244); those of 16 and 10 frames follow from the same weights.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from trip.evaluation.frechet import frechet_distance  # noqa: E402
from trip.evaluation.i3d import SIZE, load_i3d  # noqa: E402
from trip.first_frame.local_models import extractor_folder  # noqa: E402

GOLDEN = {30: 151.39244, 16: 152.902, 10: 569.772}  # frames -> Fréchet distance
TOLERANCE = 1e-5  # relative

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--models", type=Path)
network, right = load_i3d(extractor_folder("i3d", parser.parse_args().models)), True
for num_frames, wanted in GOLDEN.items():
    begun = time.perf_counter()
    with torch.inference_mode():
        zeros, ones = (network(torch.full((1, 3, num_frames, SIZE, SIZE), level)).repeat(2, 1).numpy() for level in (-1.0, 1.0))
    found = frechet_distance(zeros, ones)
    right &= abs(found / wanted - 1) < TOLERANCE
    print(f"{num_frames} frames: {found:.5f}, wanted {wanted}; {(time.perf_counter() - begun) / 2:.2f} s a clip")
sys.exit(not right)
