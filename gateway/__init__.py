"""The HTTP server: the dialects that throw signals, and the API that configures the product."""
