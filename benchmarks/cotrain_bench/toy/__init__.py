"""The toy of Lei et al. 2026: two spirals, one shifted, whose inputs lie in two planes a distance dz apart.

    cotrain bench toy --preset smoke

Every cell (distance dz, ratio w, seed) is a small rectified flow; all of them train as one batched ensemble.
"""
