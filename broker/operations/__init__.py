"""What the product does for its callers, over HTTP and from the command line alike: each use case once."""
