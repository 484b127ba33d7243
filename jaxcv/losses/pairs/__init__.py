"""Losses on embeddings that compare the examples of a batch: pairs, triplets, proxies."""
