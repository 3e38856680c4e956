"""The way in: every HTTP dialect that throws signals, and the API that configures the rest."""
