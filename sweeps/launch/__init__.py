"""Running a planned sweep: on SLURM, over processes of this machine, or in this one."""
