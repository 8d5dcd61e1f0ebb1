"""Training of one run."""


class TrainingError(RuntimeError):
    """Error: training cannot give a model, for example because the loss is NaN or no epoch can be selected."""
