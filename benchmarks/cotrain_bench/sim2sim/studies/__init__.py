"""Studies: the paper's questions, each a list of cells written down before any of them is run."""
