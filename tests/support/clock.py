"""A clock that a test sets."""


class Clock:
    """Shows `now`, in monotonic seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now
