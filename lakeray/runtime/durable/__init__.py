"""Durable runs: the loop that drives them, what does their work, what people ask of them."""
