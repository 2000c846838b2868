"""Takes a moment to import."""

import time

time.sleep(0.2)
