"""The native API, ``/v1``: everything the product can do."""
