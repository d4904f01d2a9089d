"""Shoppers of the synthetic shop, whose true wishes are known, before the real service."""
