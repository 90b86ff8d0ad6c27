"""What every room speaks: rows, errors, distances, devices, ranks."""
