"""Sixty clips one after the other in one app, on the embedded model: python tests/stress/many_clips.py [--num-clips 60] [--num-steps N].

Memory after the last clip must be within 3 % of that after the tenth, and the last ten clips may take at most a tenth longer than the
second ten. Memory is what the app's process has for itself (USS). Exit code 1 and a line for each violation.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
from app_process import PHOTO, ROOT, free_port, running
from gradio_client import Client, handle_file

GROWTH, SLOWER = 1.03, 1.1
FIRST = 10  # clips after which memory is looked at first
PROMPTS = ("the camera pans right", "the waves roll in", "the camera zooms in slowly", "snow falls", "the clouds drift to the left")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-clips", type=int, default=60, metavar="N")
    parser.add_argument("--num-steps", type=int, metavar="N", help="of each clip; the model's own where none is given")
    options = parser.parse_args()
    if options.num_clips < 3 * FIRST:
        parser.error(f"--num-clips: wanted at least {3 * FIRST}, got {options.num_clips}")
    seconds, memory = [], []
    with tempfile.TemporaryDirectory() as folder, running(ROOT / "assets" / "embedded", Path(folder) / "outputs", free_port()) as url:
        (app,) = psutil.Process().children()
        client = Client(url, verbose=False, httpx_kwargs={"timeout": 600})
        for number in range(options.num_clips):
            begun = time.monotonic()
            asked = {"prompt": PROMPTS[number % len(PROMPTS)], "seed": number, "num_steps": options.num_steps}
            client.predict(handle_file(PHOTO), api_name="/animate", **{name: value for name, value in asked.items() if value is not None})
            seconds.append(time.monotonic() - begun)
            memory.append(app.memory_full_info().uss)
    figures = {
        "num_clips": options.num_clips,
        "memory_after_10": memory[FIRST - 1],
        "memory_after_last": memory[-1],
        "growth": round(memory[-1] / memory[FIRST - 1], 4),
        "most_memory": max(memory),
        "seconds_second_ten": round(statistics.median(seconds[FIRST : 2 * FIRST]), 2),
        "seconds_last_ten": round(statistics.median(seconds[-FIRST:]), 2),
    }
    print(json.dumps(figures, indent=1))
    violations = []
    if figures["growth"] > GROWTH:
        violations.append(f"memory grew by {100 * (figures['growth'] - 1):.1f} % from clip {FIRST} to clip {options.num_clips}")
    if figures["seconds_last_ten"] > SLOWER * figures["seconds_second_ten"]:
        violations.append(f"clips became slower: {figures['seconds_second_ten']} s, then {figures['seconds_last_ten']} s")
    print(*violations, sep="\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
