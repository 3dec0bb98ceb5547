from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from model_kit import export as module
from model_kit.definition import Dataset
from model_kit.encoding import FeatureMaker, Features
from model_kit.errors import BundleError, ExportError
from model_kit.evaluation import Fitted, fit
from model_kit.export import TARGET_OPSET, agreement, to_onnx
from model_kit.folding_terms import Number, Terms
