"""One or several states as one sampled function, what is minimised, and what their figures are."""
