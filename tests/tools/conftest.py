import sys
from pathlib import Path

# The tools are scripts that import one another from their own folder, as Python runs them.
sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
