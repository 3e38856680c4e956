"""The Camunda 7 dialect: ``POST /engine-rest/signal``, read and answered as its engine does."""
