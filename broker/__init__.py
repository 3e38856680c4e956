"""The shared core: signals, subscriptions, deliveries, and the two ports they travel through."""
