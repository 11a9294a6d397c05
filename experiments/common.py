"""What the experiments share: runs that resume where they stopped, and results as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nextpixel import load
from nextpixel.checkpoint import load_trainable, read_metadata
from nextpixel.models.choice import ModelChoice
from nextpixel.training.config import TrainConfig
from nextpixel.training.runs import STATE
from nextpixel.training.start import resume_model, train_model

RESULTS = Path(__file__).parent / "results"
