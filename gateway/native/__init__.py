"""The native API, ``/v1``: it has every feature of the product."""
