"""Every figure that needs a GPU, taken by one command: `make gpu`."""
