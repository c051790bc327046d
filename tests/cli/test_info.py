def test_it_says_what_a_run_would_do_and_writes_nothing(command_line):
    before = set(command_line.folder.rglob("*"))
    status, output, errors = command_line.run("info", *command_line.settings, "steps=7", "optimizer.damping=0.002")
    assert status == 0, output + errors
    assert "H2: charge 0, spin 0, 2 electrons" in output
    assert "walkers          32" in output
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in output.splitlines() if len(line.split()) > 1}
    assert lines["steps"] == ["7"]
    assert lines["optimizer.damping"] == ["0.002"]
    assert lines["optimizer.norm_constraint"] == ["0.001", "largest squared length of a parameter change"]
    assert lines["bond_length"][0] == "1.4"
    assert set(command_line.folder.rglob("*")) == before


def test_a_slip_is_answered_as_by_the_command_itself(command_line):
    for typed, message in ((["+system=Xx"], "system=Xx: system is one of"), (["+system=H2", "setps=3"], "steps")):
        status, output, errors = command_line.run("info", *typed)
        assert status == 1
        assert message in output + errors
        assert "Traceback" not in output + errors
