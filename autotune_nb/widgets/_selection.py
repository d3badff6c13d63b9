"""The selected trials of one monitor, which its charts, its table and its trial page share."""

from __future__ import annotations

import traitlets


class Selection(traitlets.HasTraits):
    """``trials`` are the numbers of the selected trials in the order of their selection; observe it to follow."""

    trials = traitlets.Tuple(help="numbers of trials")
