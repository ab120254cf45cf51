"""`ketchup check-grads` as typed."""


def test_one_objective_is_held_against_every_axiom(ketchup):
    result = ketchup("check-grads", "nll")

    assert result.code == 0
    heading, row, total = result.out.splitlines()
    assert heading.split() == ["loss", "RD.1", "RD.2", "RD.5", "adjoint"]
    assert (row.split()[0], row.split()[-1]) == ("nll", "holds")
    assert total == "1 losses, 0 findings above tolerance"


def test_the_findings_are_told_as_json_with_their_tolerance(ketchup):
    result = ketchup("check-grads", "nll", "--seed", "4", "--json")

    assert (result.json["passed"], result.json["seed"]) == (True, 4)
    tolerances = {item["axiom"]: item["tolerance"] for item in result.json["findings"]}
    assert tolerances == {"RD.1": 1e-11, "RD.2": 1e-11, "RD.5": 1e-11, "adjoint": 1e-6}


def test_an_unknown_objective_is_named_with_the_nearest(ketchup):
    result = ketchup("check-grads", "revers_kl")

    assert result.code == 2
    assert "reverse_kl" in result.err
