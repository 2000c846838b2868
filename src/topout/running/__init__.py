"""One model timed as it is, or with another matrix product in the place of PyTorch's."""
