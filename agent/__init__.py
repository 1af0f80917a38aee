"""What is done with readings: poll, seal, keep, forward, verify."""

__version__ = "0.1.0"
