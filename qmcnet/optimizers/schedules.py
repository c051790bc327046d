"""Learning-rate schedules."""


def inverse_decay(rate: float, step: int, decay_steps: float | None) -> float:
    """Learning rate that falls as rate / (1 + step / decay_steps).

    Args:
        rate: initial rate.
        step: updates made so far.
        decay_steps: steps after which the rate has halved; None keeps it constant.

    Returns:
        The rate at this step.
    """
    return rate if decay_steps is None else rate / (1 + step / decay_steps)
