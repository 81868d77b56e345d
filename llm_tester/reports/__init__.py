"""What a run found, for people: reports that are written from results and need nothing else."""
