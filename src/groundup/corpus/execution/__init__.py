"""Running a stage over many work units: in processes here, on Ray or under Slurm, killed and resumed at any point."""
