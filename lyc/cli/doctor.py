"""stub"""

EXAMPLES = "lyc doctor"


def doctor() -> None:
    "stub"
