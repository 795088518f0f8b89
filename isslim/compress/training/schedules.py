"""The learning rate as a share of its peak.

- `cosine`: rises linearly over the first 2 % and falls along a cosine to 1 %, over a horizon known
  in advance, so that a resumed run is the same run.
- `linear`: falls from the peak to zero, over such a horizon.
- `constant`.
- `paper_baseline`: divided by 1.15 after every epoch from the 14th on (Zaremba et al., "large").
- `paper_rhn`: divided by 1.02 after every epoch from the 20th on (Zilly et al.).
- `paper_iss`: divided by 10 after every third of the epochs, rounded down: for 55 epochs after 18,
  36 and 54.
"""

from __future__ import annotations

import math

from isslim.compress.training.plan import TrainingPlan

WARM, FLOOR = 0.02, 0.01


def share_of_peak(plan: TrainingPlan, done: float, epoch: int) -> float:
    """What to multiply the plan's learning rate by.

    Args:
        plan: its `schedule` and `epochs`.
        done: share of the horizon, 0 to 1.
        epoch: the running one, counted from 0.
    """
    if plan.schedule in ("constant", "linear"):
        return 1.0 if plan.schedule == "constant" else max(0.0, 1 - done)
    if plan.schedule == "paper_baseline":
        return math.pow(1.15, -max(0, epoch + 1 - 14))
    if plan.schedule == "paper_rhn":
        return math.pow(1.02, -max(0, epoch + 1 - 20))
    if plan.schedule == "paper_iss":
        return math.pow(0.1, epoch // max(1, int(plan.epochs) // 3))
    if done < WARM:
        return max(done, 1e-3) / WARM
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * (done - WARM) / (1 - WARM)))
