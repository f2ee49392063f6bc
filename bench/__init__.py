"""Benchmarks: what the budgets of the design promise, measured beside a peer in the same run.

Every result is a ratio, for two machines never have the same seconds. `python -m bench --help` lists them.
"""

import sys
from pathlib import Path

# Images are built by the project's tools, which are programs and no package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
