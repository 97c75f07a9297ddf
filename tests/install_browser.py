"""Gets a Chromium for the browser tests: Debian's package where we may install it, Playwright's own build elsewhere."""

import os
import shutil
import subprocess
import sys

if shutil.which("apt-get") and os.geteuid() == 0:
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    subprocess.run(["apt-get", "install", "-qq", "-y", "--no-install-recommends", "chromium"], check=True)
else:
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)
