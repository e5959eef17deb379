from interpret_runs.runner.counts import agreeing, number_of


def test_one_is_singular_and_verbs_agree() -> None:
    assert [number_of(amount, "run") for amount in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
    assert [number_of(amount, "batch", "is") for amount in (1, 3)] == ["1 batch is", "3 batches are"]
    assert number_of(2, "more file", "has") == "2 more files have" and agreeing(1, "has") == "has"
