"""Neural-network quantum Monte Carlo in PyTorch."""
