"""Estimators of density ratios against ratios that are known in closed form."""
