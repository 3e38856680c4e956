"""What becomes of a webhook, by what its receiver does."""
