"""What the experiments share: runs that resume where they stopped, and results as JSON."""

from pathlib import Path

RESULTS = Path(__file__).parent / "results"
