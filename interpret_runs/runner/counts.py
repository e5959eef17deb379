"""How many there are of something, in words."""

SEVERAL = {"is": "are", "has": "have"}


def number_of(amount: int, noun: str, verb: str = "") -> str:
    """``1 run``, ``3 batches``; with a verb, ``is`` or ``has``, ``1 run is``, ``3 runs are``."""
    ending = "" if amount == 1 else "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{amount} {noun}{ending} {agreeing(amount, verb)}".rstrip()


def agreeing(amount: int, verb: str) -> str:
    return verb if amount == 1 else SEVERAL.get(verb, verb)
