"""How the product is put together and run: the command line, the all-in-one process, images and manifests."""
