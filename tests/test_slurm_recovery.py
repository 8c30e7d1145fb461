"""Jobs that die: what is counted, what is tried again, and what is given up."""

from slurm import jobs


def test_memory_deaths_are_read_from_the_log(tmp_path):
    log = tmp_path / "log.err"
    assert jobs.memory_deaths(log) == 0
    log.write_text("slurmstepd: error: Detected 1 oom_kill event\nTraceback: x\n")
    assert jobs.memory_deaths(log) == 1
    death = "error: Job 3 exceeded memory limit (9 > 2), being killed\n" * 2
    log.write_text(f"start of run 0\n{death}start of run 1\nx\nstart of run 2\n{death}")
    assert jobs.memory_deaths(log) == 2
