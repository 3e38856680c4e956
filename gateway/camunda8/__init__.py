"""The Camunda 8 dialect: ``POST /v2/signals/broadcast``."""
