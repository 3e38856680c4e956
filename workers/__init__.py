"""The way out: recording signals, and delivering them."""
